//! Evaluation: is it any good?

pub mod benchmark;
pub mod captioned;
pub mod clip_features;
pub mod clip_score;
mod comparison;
pub mod extractor;
mod extractor_name;
pub mod feature_statistics;
pub mod features;
pub mod fid_infinity;
pub mod frechet;
pub mod frechet_bias;
pub mod frechet_uncertainty;
pub mod gaussian;
pub mod inception_score;
pub mod inception_v3;
pub mod kid;
mod measured;
mod merge;
mod metric;
pub mod ms_ssim;
pub mod numpy_random;
#[cfg(feature = "onnx")]
pub mod onnx_extractor;
pub mod paired;
pub mod picture_set;
pub mod pixel;
pub mod prdc;
#[cfg(feature = "onnx")]
pub mod preprocessing;
pub mod prompt_accuracy;
pub mod protocol;
pub mod retrieval;
mod round_trip;
mod sample_size;
pub mod scene_checker;
pub mod set_metrics;
pub mod side;
pub mod side_protocol;
mod sources;
pub mod ssim;
pub mod warnings;

pub use comparison::Comparison;
pub use extractor_name::ExtractorName;
pub use measured::Measured;
pub use merge::{Merged, merge};
pub use metric::Metric;
pub use round_trip::{RoundTrip, round_trip};
