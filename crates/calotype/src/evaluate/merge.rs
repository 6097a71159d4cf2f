//! Statistics, or features, of parts of a set made those of the whole.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::side::Side;
use crate::error::{Error, Result};

/// What [`merge`] has merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Pictures of the whole set, where all files say how many theirs are.
    pub n: Option<usize>,
    /// Files.
    pub merged: usize,
    /// What makes the statistics hard to compare.
    pub warnings: Vec<String>,
}

/// Merges `files` of statistics of parts of a set into one file at `out`.
///
/// # Errors
/// `Error::Data` for no files, or files that do not go together; `Error::Io`, `Error::Format`.
pub fn merge(files: &[PathBuf], out: &Path) -> Result<Merged> {
    let whole = whole(files)?;
    if whole.features().is_some() {
        whole.write_features(out)?;
    } else {
        whole.write_statistics(out)?;
    }
    let mut warnings = Vec::new();
    if !whole.protocol.is_known() {
        warnings.push(
            "the files do not say how their features were made (no protocol.json), nor will this".into(),
        );
    }
    Ok(Merged { n: whole.n(), merged: files.len(), warnings })
}

fn whole(files: &[PathBuf]) -> Result<Side> {
    let mut files = files.iter();
    let first = files.next().ok_or_else(|| Error::data("merge", "two files", "none"))?;
    files.try_fold(Side::read(first)?, |merged, part| merged.merge(&Side::read(part)?))
}
