//! Is it any good?

pub mod clip_features;
pub mod frechet;
pub mod frechet_uncertainty;
#[cfg(test)]
mod golden;
pub mod inception_score;
pub mod pixel;
pub mod prompt_accuracy;
pub mod report;
pub mod retrieval;
pub mod scene_checker;
pub mod ssim;
