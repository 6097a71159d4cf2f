//! Training: the loop that every part runs, what each part is trained for, and everything of a run on disk.

pub mod autoencoder;
mod claim;
pub mod clip;
pub mod damage;
pub mod data_parallel;
pub mod denoiser;
pub mod ema_model;
pub mod gradient_cache;
pub mod latent_statistics;
pub mod lr_schedule;
pub mod metrics_log;
pub mod objective;
pub mod optimizer;
pub mod preflight;
pub mod recipe;
mod run_log;
mod settings;
pub mod spikes;
pub mod state;
mod swap;
pub mod tensor_store;
pub mod training_loop;
pub mod weights;

pub use recipe::Recipe;

/// Whether a training is checked before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// Yes; faults stop it.
    Before,
    /// No.
    Skip,
    /// Yes, and nothing is trained.
    Only,
}

impl Preflight {
    /// Before the training, unless the user skips it.
    pub fn unless(skipped: bool) -> Self {
        if skipped { Self::Skip } else { Self::Before }
    }
}
