//! The folder of a run: where it keeps what, and the names of what it trains.
//!
//! ```text
//! RUN/recipe.toml                      what the run was started with
//! RUN/model/                           the model folder that other tools open
//! RUN/best/PART/                       a model folder with the part's best weights so far
//! RUN/state/PART/000000500.safetensors checkpoints, named by the steps done
//! RUN/ema/PART/000000500.safetensors   averages of the weights, kept for later
//! RUN/logs/PART.jsonl                  {"step": 10, "loss": 0.18, …}; validation_* on lines of their own
//! RUN/logs/PART.events.jsonl           {"step": 120, "event": "loss_spike", …}
//! RUN/logs/tensorboard/PART/           the same numbers and pictures for TensorBoard
//! RUN/samples/PART/                    pictures of the validations
//! RUN/cache/                           latents and text features, computed once
//! ```

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::named::named_enum;

named_enum! {
    /// What a run trains, in the order in which it is trained: a later part may need the earlier ones. The names are
    /// those of recipe sections, logs and checkpoints.
    #[derive(PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum TrainedPart: "part" {
        Vae = "vae": "The autoencoder",
        Clip = "clip": "The tokenizer and both CLIP towers",
        Diffusion = "diffusion": "The U-Net; needs `vae` and `clip` of the same run, or a `model` to fine-tune",
    }
}

/// Where a run keeps what: the model folder that other tools open, and beside it what only a resume
/// needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
    cache: PathBuf,
}

impl RunFolder {
    /// The run at `path`; nothing is created or read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { cache: path.join("cache"), path }
    }

    /// The same run with its caches in `folder`, where another run's are.
    pub fn with_cache(self, folder: PathBuf) -> Self {
        Self { cache: folder, ..self }
    }

    /// The run that lies at `path`.
    ///
    /// # Errors
    /// `Error::Io` if there is nothing at `path`; `Error::Data` if it is not a run.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::metadata(path).map_err(Error::io("read", path))?;
        let run = Self::new(path);
        if run.is_run() {
            return Ok(run);
        }
        let got = match (path.is_dir(), run.logs().is_dir()) {
            (false, _) => "a file",
            (true, false) => "a folder without logs/",
            (true, true) => "a folder with logs/ only",
        };
        let expected = "a run: a folder with logs/, and recipe.toml or state/";
        Err(Error::data(format!("`{}`", path.display()), expected, got))
    }

    /// Whether a training has written here.
    pub fn is_run(&self) -> bool {
        self.logs().is_dir() && (self.recipe().is_file() || self.path.join("state").is_dir())
    }

    /// The run itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe that the run was started with.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// The model folder in diffusers' layout.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The model folders with the best weights so far, one for each part.
    pub fn all_best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// A model folder with a part's best weights so far.
    pub fn best(&self, part: TrainedPart) -> PathBuf {
        self.all_best().join(part.name())
    }

    /// The checkpoints of a part's training: weights, moments and averages.
    pub fn checkpoints(&self, part: TrainedPart) -> PathBuf {
        self.path.join("state").join(part.name())
    }

    /// Whether a part's training has a checkpoint to go on from.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn has_begun(&self, part: TrainedPart) -> Result<bool> {
        Ok(!files_by_steps(&self.checkpoints(part))?.is_empty())
    }

    /// Averages of a part's weights, kept for later: a file for each number of steps.
    pub fn ema(&self, part: TrainedPart) -> PathBuf {
        self.path.join("ema").join(part.name())
    }

    /// What trainings log.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// One JSON object for each logged step of a part's training.
    pub fn log(&self, part: TrainedPart) -> PathBuf {
        self.logs().join(format!("{part}.jsonl"))
    }

    /// One JSON object for each thing that happened in a part's training.
    pub fn events(&self, part: TrainedPart) -> PathBuf {
        self.logs().join(format!("{part}.events.jsonl"))
    }

    /// A part's TensorBoard folder.
    pub fn tensorboard(&self, part: TrainedPart) -> PathBuf {
        self.logs().join("tensorboard").join(part.name())
    }

    /// Pictures that a part's validations made.
    pub fn samples(&self, part: TrainedPart) -> PathBuf {
        self.path.join("samples").join(part.name())
    }

    /// What was computed once: latents, text features.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone()
    }
}

/// The file in `folder` of what is kept after `steps` steps: a checkpoint, averages.
pub fn file_after(folder: &Path, steps: usize) -> PathBuf {
    folder.join(format!("{steps:09}.safetensors"))
}

/// Steps and file of everything that a folder keeps under [`file_after`]'s names, the oldest first; nothing
/// if there is no folder.
///
/// # Errors
/// `Error::Io`.
pub fn files_by_steps(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let steps = |path: &Path| match path.extension()?.to_str()? {
        "safetensors" => path.file_stem()?.to_str()?.parse().ok(),
        _ => None,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        found.extend(steps(&path).map(|steps| (steps, path)));
    }
    found.sort();
    Ok(found)
}
