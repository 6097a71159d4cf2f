//! Training: the loop that every part runs, what each part is trained for, and everything of a run on disk.

pub mod autoencoder;
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
mod precision;
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

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

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

    /// Keeps other processes from training the same part of this run; until the file is dropped.
    ///
    /// # Errors
    /// `Error::Io` if another process does, or the folder cannot be written.
    pub(crate) fn lock(&self, part: &str) -> Result<File> {
        let folder = self.checkpoints(part);
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let taken = |_| std::io::Error::other("another process is training this part of the run");
        file.try_lock().map_err(taken).map_err(Error::io("lock", &path))?;
        Ok(file)
    }

    /// Removes what a crash of a part's training left half-written. The caches look after themselves.
    ///
    /// # Errors
    /// `Error::Io`.
    pub(crate) fn remove_leftovers(&self, part: &str) -> Result<()> {
        let own = [self.checkpoints(part), self.samples(part), self.ema(part), self.tensorboard(part)];
        for folder in own {
            remove_temporary(&folder, "")?;
        }
        remove_temporary(&self.0.join("logs"), part)?;
        let components: &[&str] = match part {
            "vae" => &["vae"],
            "clip" => &["clip", "text_encoder", "tokenizer"],
            _ => &["", "unet", "scheduler", "vae", "text_encoder", "tokenizer"],
        };
        components.iter().try_for_each(|folder| remove_temporary(&self.model().join(folder), ""))?;
        swap::finish(&self.best(part))
    }

    /// Removes what a training from the beginning will make anew.
    ///
    /// # Errors
    /// `Error::Io`.
    pub(crate) fn forget(&self, part: &str) -> Result<()> {
        for folder in [self.best(part), self.samples(part), self.ema(part)] {
            if folder.is_dir() {
                std::fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
            }
        }
        Ok(())
    }

    /// The model folder in diffusers' layout.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// A model folder with a part's best weights so far.
    pub fn best(&self, part: &str) -> PathBuf {
        self.0.join("best").join(part)
    }

    /// The recipe that the run was started with.
    pub fn recipe(&self) -> PathBuf {
        self.0.join("recipe.toml")
    }

    /// The checkpoints of a part's training: weights, moments and averages.
    pub fn checkpoints(&self, part: &str) -> PathBuf {
        self.0.join("state").join(part)
    }

    /// Averages of a part's weights, kept for later: a file for each number of steps.
    pub fn ema(&self, part: &str) -> PathBuf {
        self.0.join("ema").join(part)
    }

    /// One JSON object for each logged step of a part's training.
    pub fn log(&self, part: &str) -> PathBuf {
        self.0.join("logs").join(format!("{part}.jsonl"))
    }

    /// One JSON object for each thing that happened in a part's training.
    pub fn events(&self, part: &str) -> PathBuf {
        self.0.join("logs").join(format!("{part}.events.jsonl"))
    }

    /// A part's TensorBoard folder.
    pub fn tensorboard(&self, part: &str) -> PathBuf {
        self.0.join("logs").join("tensorboard").join(part)
    }

    /// Pictures that a part's validations made.
    pub fn samples(&self, part: &str) -> PathBuf {
        self.0.join("samples").join(part)
    }

    /// What was computed once: latents, text features.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}

/// Removes the temporary files of [`atomic`](crate::files::atomic) whose names begin with `start`:
/// `NAME.PROCESS.tmp`.
fn remove_temporary(folder: &Path, start: &str) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let process = name.strip_suffix(".tmp").and_then(|name| name.rsplit_once('.')).map(|(_, id)| id);
        let ours = process.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        if ours && name.starts_with(start) {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
