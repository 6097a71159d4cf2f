//! The parquet files of a folder.

use std::path::{Path, PathBuf};

use crate::data::splits::is_held_out;
use crate::error::{Error, Result};

/// The files of a data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub taken: Vec<PathBuf>,
    pub left_out: Vec<PathBuf>,
}

/// `*.parquet` in `dir` and one folder deeper, in the order of their paths.
pub(super) fn find(dir: &Path) -> Result<Files> {
    let mut found = Vec::new();
    for path in list(dir)? {
        if path.is_dir() {
            found.extend(list(&path)?.into_iter().filter(|path| is_parquet(path)));
        } else if is_parquet(&path) {
            found.push(path);
        }
    }
    found.sort();
    let (left_out, taken): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| held_out(dir, path));
    match (taken.is_empty(), left_out.is_empty()) {
        (true, true) => {
            let reason = "no file in it, or one folder deeper, is called `*.parquet`";
            Err(Error::format(dir, "folder of parquet files", reason))
        }
        // Whoever has only a test set means it.
        (true, false) => Ok(Files { taken: left_out, left_out: taken }),
        _ => Ok(Files { taken, left_out }),
    }
}

/// What is in a folder, without what is hidden (`.cache` of Hugging Face's downloads).
fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let entries = entries.map_err(Error::io("read", dir))?;
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    Ok(entries.into_iter().filter(|entry| !hidden(&entry.file_name())).map(|entry| entry.path()).collect())
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) && path.is_file()
}

/// Whether a part of the path below `dir` begins with the word of a held-out split.
fn held_out(dir: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.iter().any(|part| is_held_out(&part.to_string_lossy()))
}
