//! The folder of a sweep.
//!
//! ```text
//! OUT/sweep.toml                 the sweep as it was asked for last
//! OUT/parts/vae-0123456789ab/    a run of one part; `trained.json` is written when it is done
//! OUT/variants/l1/seed-0/        a model with its report and `metrics.json`, as `demo` leaves it
//! OUT/metrics.json, table.md, table.csv, report.html
//! ```
//!
//! A part's name is a hash of everything that decides its weights. What stands on a part has hard links to its files, so
//! every `model/` is whole; files are replaced and never changed, so no link changes another.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::plan::PlannedRun;
use crate::error::{Error, Result};
use crate::files::{atomic, output};
use crate::runs::folder::{RunFolder, TrainedPart};

/// Says that a model is whole.
const INDEX: &str = "model_index.json";

/// Where a sweep keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFolder(PathBuf);

/// `trained.json`.
#[derive(Deserialize)]
struct Trained {
    seconds: f64,
}

impl SweepFolder {
    /// The sweep at `path`; nothing is created or read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The sweep itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was asked for.
    pub fn asked(&self) -> PathBuf {
        self.0.join("sweep.toml")
    }

    /// Refuses a folder that is something else.
    ///
    /// # Errors
    /// `Error::Argument`; `Error::Io`.
    pub fn require(&self) -> Result<()> {
        output::require_folder("out", &self.0)?;
        let something =
            self.0.is_dir() && fs::read_dir(&self.0).map_err(Error::io("read", &self.0))?.next().is_some();
        if something && !self.asked().is_file() {
            let got = format!("`{}`, which has files in it and no sweep.toml", self.0.display());
            return Err(Error::argument("out", "a new folder, or that of a sweep", got));
        }
        Ok(())
    }

    /// Keeps other processes from this sweep until the file is dropped, and removes what a crash left half-written.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn claim(&self) -> Result<File> {
        let file = atomic::lock(&self.0.join("lock"), "another process is at work on this sweep")?;
        remove_temporary(&self.0)?;
        Ok(file)
    }

    fn part_folder(&self, name: &str) -> PathBuf {
        self.0.join("parts").join(name)
    }

    /// The run in which a part of `run` is trained. Denoisers keep the latents of one autoencoder with that.
    pub fn part(&self, run: &PlannedRun, part: TrainedPart) -> RunFolder {
        let cache = self.part_folder(run.part(TrainedPart::Vae)).join("cache");
        RunFolder::new(self.part_folder(run.part(part))).with_cache(cache)
    }

    fn trained(&self, name: &str) -> PathBuf {
        self.part_folder(name).join("trained.json")
    }

    /// Whether the training of a part is done.
    pub fn is_trained(&self, name: &str) -> bool {
        self.trained(name).is_file()
    }

    /// Says that it is, and how many seconds it has taken.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn set_trained(&self, name: &str, seconds: f64) -> Result<()> {
        atomic::write_json(&self.trained(name), &serde_json::json!({ "seconds": seconds }))
    }

    /// Seconds that the trainings of all parts of `run` have taken.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format`.
    pub fn training_seconds(&self, run: &PlannedRun) -> Result<f64> {
        let seconds =
            |part| atomic::read_json::<Trained>(&self.trained(run.part(part))).map(|trained| trained.seconds);
        TrainedPart::ALL.into_iter().map(seconds).sum()
    }

    /// The folder of a model.
    pub fn run(&self, run: &PlannedRun) -> RunFolder {
        let seed = format!("seed-{}", run.recipe.seed);
        RunFolder::new(self.0.join("variants").join(&run.variant).join(seed))
    }

    /// What `run` was when its work began.
    pub fn settings(&self, run: &PlannedRun) -> PathBuf {
        self.run(run).path().join("settings.json")
    }

    /// What was measured of `run`; written last.
    pub fn metrics(&self, run: &PlannedRun) -> PathBuf {
        self.run(run).path().join("metrics.json")
    }

    /// Gives the denoiser's training what it stands on.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn link_foundations(&self, run: &PlannedRun) -> Result<()> {
        let to = self.part(run, TrainedPart::Diffusion).model();
        for part in [TrainedPart::Vae, TrainedPart::Clip] {
            link_missing(&self.part(run, part).model(), &to)?;
        }
        Ok(())
    }

    /// Gives `run` its model, and the logs of its trainings.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn link_model(&self, run: &PlannedRun) -> Result<()> {
        let to = self.run(run);
        for part in TrainedPart::ALL {
            let from = self.part(run, part);
            fs::create_dir_all(to.logs()).map_err(Error::io("create", to.logs()))?;
            for (from, to) in [(from.log(part), to.log(part)), (from.events(part), to.events(part))] {
                if from.is_file() && !to.exists() {
                    link(&from, &to)?;
                }
            }
        }
        link_missing(&self.part(run, TrainedPart::Diffusion).model(), &to.model())
    }
}

/// Removes the temporary files of [`atomic`], wherever they are.
fn remove_temporary(folder: &Path) -> Result<()> {
    atomic::remove_temporary(folder, "")?;
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.is_dir() {
            remove_temporary(&path)?;
        }
    }
    Ok(())
}

/// Gives `to` every file of `from` that it does not have, what says that a model is whole as the last.
fn link_missing(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        entries.push(entry.map_err(Error::io("read", from))?.file_name());
    }
    entries.sort_by_key(|name| name == INDEX);
    for name in entries {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            link_missing(&from, &to)?;
        } else if !to.exists() && !atomic::is_temporary(&name.to_string_lossy()) {
            link(&from, &to)?;
        }
    }
    Ok(())
}

/// A hard link, or a copy where the file system has none.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    atomic::write_with(to, |temporary| {
        fs::copy(from, temporary).map(|_| ()).map_err(Error::io("copy", temporary))
    })
}
