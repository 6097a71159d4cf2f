//! A part of a run, claimed by the process that trains it: locked against others, and free of what a crash
//! has left.

use std::fs::{self, File};
use std::path::Path;

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
    let lock = lock(run, part)?;
    remove_leftovers(run, part)?;
    Ok(lock)
}

fn lock(run: &RunFolder, part: TrainedPart) -> Result<File> {
    let folder = run.checkpoints(part);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    let taken = |_| std::io::Error::other("another process is training this part of the run");
    file.try_lock().map_err(taken).map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// The caches look after themselves.
fn remove_leftovers(run: &RunFolder, part: TrainedPart) -> Result<()> {
    for folder in [run.checkpoints(part), run.samples(part), run.ema(part), run.tensorboard(part)] {
        remove_temporary(&folder, "")?;
    }
    remove_temporary(&run.logs(), part.name())?;
    for folder in written_in_model(part) {
        remove_temporary(&run.model().join(folder), "")?;
    }
    swap::finish(&run.best(part))
}

/// Folders inside the model's that the training of a part writes.
fn written_in_model(part: TrainedPart) -> &'static [&'static str] {
    match part {
        TrainedPart::Vae => &["vae"],
        TrainedPart::Clip => &["clip", "text_encoder", "tokenizer"],
        TrainedPart::Diffusion => &["", "unet", "scheduler", "vae", "text_encoder", "tokenizer"],
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

/// Removes the temporary files of [`atomic`] whose names begin with `start`.
fn remove_temporary(folder: &Path, start: &str) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if atomic::is_temporary(&name) && name.starts_with(start) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
