//! Runs on disk: which there are, how they differ, how their curves go.
//!
//! A run is the folder that training writes. Everything here only reads it, apart from
//! [`page::write`]; the results are plain data, for the command line and whoever else shows them.

pub mod chart;
pub mod compare;
pub mod folder;
mod log;
pub mod metric;
pub mod page;
pub mod plot;
mod recipe;
pub mod scan;
mod series;
pub mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use folder::RunFolder;

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
/// As [`RunFolder::open`]; `Error::Argument` for fewer than `least`, or for the same folder twice.
fn open_all(paths: &[PathBuf], least: usize) -> Result<(Vec<RunFolder>, Vec<RunName>)> {
    if paths.len() < least {
        return Err(Error::argument("runs", format!("at least {least}"), paths.len()));
    }
    let runs = paths.iter().map(|path| RunFolder::open(path)).collect::<Result<Vec<_>>>()?;
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].iter().any(|earlier| same(earlier, path)) {
            return Err(Error::argument("runs", "each once", format!("`{}` twice", path.display())));
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
