//! Pictures from wherever the user has them.

use std::path::{Path, PathBuf};

use super::collection::Collection;
use super::image_folder::ImageFolder;
use super::parquet::{Columns, Parquet};
use super::web_dataset::WebDataset;
use super::web_dataset::download::{is_url, resolve};
use crate::error::{Error, Result};

/// Whether a picture may be without a caption where others have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captions {
    /// No.
    Required,
    /// Yes: for who looks at the pictures alone.
    Optional,
}

/// Opens one of: an image folder; a folder of tar shards or of parquet files; such files by name; shards by address
/// (`https://…/shard-{000..127}.tar`), which are kept in `cache`. `names` are several only for files.
///
/// # Errors
/// `Error::Argument` for names that do not go together; those of the kind that it is.
pub fn open(names: &[String], captions: Captions, cache: &Path) -> Result<Box<dyn Collection>> {
    let listed = |name: &String| is_url(name) || name.contains('{');
    if names.iter().any(listed) {
        return Ok(Box::new(WebDataset::open(&resolve(names, cache)?)?));
    }
    let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    let all_are = |extension: &str| {
        !paths.is_empty() && paths.iter().all(|path| path.is_file() && has_extension(path, extension))
    };
    if all_are("tar") {
        return Ok(Box::new(WebDataset::open(&paths)?));
    }
    if all_are("parquet") {
        return spilled(Parquet::open(&paths, &Columns::default())?, cache);
    }
    let [folder] = paths.as_slice() else {
        let expected = "one folder, or several .tar or several .parquet files";
        return Err(Error::argument("--data", expected, names.join(" ")));
    };
    if holds(folder, "tar")? {
        return Ok(Box::new(WebDataset::open_folder(folder)?));
    }
    if holds(folder, "parquet")? || holds(&folder.join("data"), "parquet")? {
        return spilled(Parquet::open_folder(folder, &Columns::default())?, cache);
    }
    Ok(Box::new(match captions {
        Captions::Required => ImageFolder::open(folder)?,
        Captions::Optional => ImageFolder::open_for_pictures(folder)?,
    }))
}

/// Pictures by position: a parquet file unpacks a whole page for each.
fn spilled(files: Parquet, cache: &Path) -> Result<Box<dyn Collection>> {
    Ok(Box::new(files.spilled(cache, &mut |_, _| Ok(()))?))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Whether files of this kind lie in `folder`; no if there is no such folder.
fn holds(folder: &Path, extension: &str) -> Result<bool> {
    if !folder.is_dir() {
        return Ok(false);
    }
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        if has_extension(&entry.map_err(Error::io("read", folder))?.path(), extension) {
            return Ok(true);
        }
    }
    Ok(false)
}
