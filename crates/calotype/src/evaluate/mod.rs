//! Is it any good?

pub mod frechet;
pub mod frechet_uncertainty;
#[cfg(test)]
mod golden;
pub mod inception_score;
pub mod pixel;
pub mod prompt_accuracy;
pub mod report;
pub mod retrieval;
pub mod ssim;
