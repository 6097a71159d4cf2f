//! Class folders: `sea_horse/1.jpg` shows a `sea horse`.

use std::path::{Path, PathBuf};

use super::{Entry, FORMAT};
use crate::error::{Error, Result};

/// The pictures in their order, each with the name of the folder that it lies in as its caption: the
/// innermost one, as Hugging Face's `imagefolder` has it, so that `train/cat/1.jpg` shows a `cat`.
///
/// In `splits` (`train/1.jpg`) a picture has no class.
///
/// # Errors
/// `Error::Format` if a folder's name is not UTF-8 or has nothing but `_`, `-` and spaces.
pub(super) fn entries(dir: &Path, pictures: &[PathBuf], splits: bool) -> Result<Vec<Entry>> {
    pictures
        .iter()
        .map(|picture| {
            let path = dir.join(picture);
            if splits && picture.iter().count() == 2 {
                return Ok(Entry { path, captions: Vec::new() });
            }
            let name = picture.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            match name.map(caption) {
                Some(caption) if !caption.is_empty() => Ok(Entry { path, captions: vec![caption] }),
                _ => Err(Error::format(path, FORMAT, "the name of its folder cannot be its caption")),
            }
        })
        .collect()
}

/// `_` and `-` are spaces; several are one.
fn caption(name: &str) -> String {
    let words = name.split(|c: char| c == '_' || c == '-' || c.is_whitespace());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
