//! A part of a run, claimed by the process that trains it: locked against others, and free of what a crash
//! has left.

use std::fs::{self, File};

use super::swap;
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::runs::folder::{RunFolder, TrainedPart};

/// Keeps other processes from training the same part of this run, until the file is dropped; and removes
/// what a crash of the part's training left half-written.
///
/// # Errors
/// `Error::Io` if another process trains the part, or the folder cannot be written.
pub(super) fn claim(run: &RunFolder, part: TrainedPart) -> Result<File> {
    let taken = "another process is training this part of the run";
    let lock = atomic::lock(&run.checkpoints(part).join("lock"), taken)?;
    remove_leftovers(run, part)?;
    Ok(lock)
}

/// The caches look after themselves.
fn remove_leftovers(run: &RunFolder, part: TrainedPart) -> Result<()> {
    for folder in [run.checkpoints(part), run.samples(part), run.ema(part), run.tensorboard(part)] {
        atomic::remove_temporary(&folder, "")?;
    }
    atomic::remove_temporary(&run.logs(), part.name())?;
    for folder in written_in_model(part) {
        atomic::remove_temporary(&run.model().join(folder), "")?;
    }
    swap::finish(&run.best(part))
}

/// Folders inside the model's that the training of a part writes.
fn written_in_model(part: TrainedPart) -> &'static [&'static str] {
    match part {
        TrainedPart::Vae => &["vae"],
        TrainedPart::Clip => &["clip", "text_encoder", "tokenizer"],
        TrainedPart::Diffusion => {
            &["", "unet", "transformer", "scheduler", "vae", "text_encoder", "tokenizer"]
        }
    }
}

/// Removes what a training from the beginning will make anew.
///
/// # Errors
/// `Error::Io`.
pub(super) fn forget(run: &RunFolder, part: TrainedPart) -> Result<()> {
    for folder in [run.best(part), run.samples(part), run.ema(part)] {
        if folder.is_dir() {
            fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        }
    }
    Ok(())
}
