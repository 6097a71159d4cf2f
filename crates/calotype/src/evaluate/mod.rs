//! Is it any good?

pub mod clip_features;
pub mod clip_score;
pub mod features;
pub mod frechet;
pub mod frechet_uncertainty;
pub mod inception_score;
pub mod kid;
pub mod pixel;
pub mod prdc;
pub mod prompt_accuracy;
pub mod report;
pub mod retrieval;
pub mod scene_checker;
pub mod ssim;
