//! Where a model lies that somebody names: here, in the program itself, or on the Hugging Face hub.

use std::path::{Path, PathBuf};

use super::hub;
#[cfg(feature = "released-model")]
use super::released;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The path itself; or where the files of the model lie that comes with the program, if it is named; or those of the
/// hub's model of this name, which are downloaded where they are missing.
///
/// # Errors
/// `Error::Io` where nothing lies at the path and it is no such name; where the cache cannot be written; as
/// [`hub::fetch_pipeline`].
pub fn find(model: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_owned());
    }
    let name = model.to_str().unwrap_or_default();
    #[cfg(feature = "released-model")]
    if name == released::NAME {
        return released::unpacked(progress);
    }
    if !hub::looks_like_repo(name) {
        return Err(Error::io("read", model)(std::io::ErrorKind::NotFound.into()));
    }
    progress.say(&format!("`{name}` is no file here: looking for it on the Hugging Face hub"));
    hub::fetch_pipeline(name, &mut |file, bytes| {
        progress.say(&format!("{name}: {file}, {:.1} MiB", bytes as f64 / (1 << 20) as f64));
    })
}
