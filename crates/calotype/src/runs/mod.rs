//! Runs on disk: which there are, how they differ, how their curves go.
//!
//! A run is the folder that training writes. Everything here only reads it, apart from
//! [`page::write`]; the results are plain data, for the command line and whoever else shows them.
//!
//! ```text
//! RUN/recipe.toml                      what the run was started with
//! RUN/state/PART/000000500.safetensors checkpoints, named by the steps done
//! RUN/state/PART.safetensors           the one checkpoint of older runs
//! RUN/logs/PART.jsonl                  {"step": 10, "loss": 0.18, …}; validation_* on lines of their own
//! RUN/logs/PART.events.jsonl           {"step": 120, "event": "loss_spike", …}
//! ```

pub mod chart;
pub mod compare;
mod log;
pub mod metric;
pub mod page;
pub mod plot;
mod recipe;
pub mod scan;
mod series;
mod svg;
pub mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::named::named_enum;

named_enum! {
    /// What a run trains, in the order in which it is trained; the names are those of its logs and checkpoints.
    #[derive(PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Part: "part" {
        /// The autoencoder.
        Vae = "vae",
        /// The CLIP towers.
        Clip = "clip",
        /// The denoiser.
        Diffusion = "diffusion",
    }
}

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run(PathBuf);

impl Run {
    /// The run at `path`.
    ///
    /// # Errors
    /// `Error::Io` if there is nothing at `path`; `Error::Data` if it is not a run.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::metadata(path).map_err(Error::io("read", path))?;
        if Self::is_run(path) {
            return Ok(Self(path.to_owned()));
        }
        let got = match (path.is_dir(), path.join("logs").is_dir()) {
            (false, _) => "a file",
            (true, false) => "a folder without logs/",
            (true, true) => "a folder with logs/ only",
        };
        let expected = "a run: a folder with logs/, and recipe.toml or state/";
        Err(Error::argument(format!("`{}`", path.display()), expected, got).of_data())
    }

    /// Whether a run lies at `path`.
    pub fn is_run(path: &Path) -> bool {
        path.join("logs").is_dir() && (path.join("recipe.toml").is_file() || path.join("state").is_dir())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn log(&self, part: Part) -> PathBuf {
        self.0.join("logs").join(format!("{part}.jsonl"))
    }

    fn events(&self, part: Part) -> PathBuf {
        self.0.join("logs").join(format!("{part}.events.jsonl"))
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

/// A run among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunName {
    /// The folder's name; the whole path where two folders have the same name.
    pub label: String,
    /// The folder.
    pub path: PathBuf,
}

/// Opens several runs and names each.
///
/// # Errors
/// As [`Run::open`]; `Error::Argument` for fewer than `least`, or for the same folder twice.
fn open_all(paths: &[PathBuf], least: usize) -> Result<(Vec<Run>, Vec<RunName>)> {
    if paths.len() < least {
        return Err(Error::argument("RUN", format!("at least {least} runs"), paths.len()));
    }
    let runs = paths.iter().map(|path| Run::open(path)).collect::<Result<Vec<_>>>()?;
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].iter().any(|earlier| same(earlier, path)) {
            return Err(Error::argument("RUN", "each run once", format!("`{}` twice", path.display())));
        }
    }
    let names = paths.iter().map(|path| RunName { label: label(path, paths), path: path.clone() });
    Ok((runs, names.collect()))
}

fn label(path: &Path, among: &[PathBuf]) -> String {
    let name = path.file_name();
    let alone = name.is_some() && among.iter().filter(|other| other.file_name() == name).count() == 1;
    match name {
        Some(name) if alone => name.to_string_lossy().into_owned(),
        _ => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests;
