//! One readable loop for each part, and what they share.

pub mod autoencoder;
pub mod checkpoint;
pub mod clip;
pub mod data_parallel;
pub mod denoiser;
pub mod latent_cache;
pub mod lr_schedule;
pub mod metrics_log;
pub mod optimizer;
pub mod recipe;
pub mod training_loop;

pub use recipe::Recipe;

use std::path::{Path, PathBuf};

/// Watches a training; the command line draws progress bars with it.
pub trait Progress: Sync {
    /// A part with `steps` steps begins at `first` (not 0 after a resume).
    fn begin(&self, part: &str, first: usize, steps: usize);
    /// `step` steps are done; `message` has the losses.
    fn step(&self, step: usize, message: &str);
    /// The part is complete.
    fn end(&self, part: &str);
    /// Whether the user wants to stop: the loop saves and returns [`crate::Error::Interrupted`].
    fn interrupted(&self) -> bool;
}

/// Says nothing and never stops.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, _: usize, _: &str) {}
    fn end(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// Where a run keeps what: the model folder that other tools open, and beside it what only a resume
/// needs.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run at `path`; nothing is created yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The run itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The model folder in diffusers' layout.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// Weights, moments and averages of a part's training.
    pub fn state(&self, part: &str) -> PathBuf {
        self.0.join("state").join(format!("{part}.safetensors"))
    }

    /// One JSON object for each logged step of a part's training.
    pub fn log(&self, part: &str) -> PathBuf {
        self.0.join("logs").join(format!("{part}.jsonl"))
    }
}
