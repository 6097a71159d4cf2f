//! Is it any good?

pub mod clip_features;
pub mod clip_score;
pub mod extractor;
pub mod features;
pub mod frechet;
pub mod frechet_uncertainty;
pub mod inception_score;
pub mod inception_v3;
pub mod kid;
pub mod ms_ssim;
pub mod numpy_random;
pub mod paired;
pub mod picture_set;
pub mod pixel;
pub mod prdc;
pub mod prompt_accuracy;
pub mod protocol;
pub mod report;
pub mod retrieval;
pub mod scene_checker;
pub mod set_metrics;
pub mod side;
pub mod ssim;
