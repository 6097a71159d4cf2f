//! Pictures from wherever the user has them.

use std::path::{Path, PathBuf};

use super::collection::{CaptionNeed, Collection, Fault};
use super::image_folder::{ImageFolder, METADATA_CSV, METADATA_JSONL};
use super::parquet::{Columns, Parquet};
use super::picture;
use super::web_dataset::WebDataset;
use super::web_dataset::remote::{is_url, resolve};
use crate::error::{Error, Result};

/// What becomes of pictures, captions, lines and samples that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faulty {
    /// The first is an error.
    Refused,
    /// All are listed by [`Collection::faults`], and the rest is used.
    LeftOut,
}

/// Opens one of: an image folder; a folder of tar shards or of parquet files; such files by name; shards by address
/// (`https://…/shard-{000..127}.tar`), which are kept in `cache`. `names` are several only for files. A folder
/// with metadata is an image folder, whatever else lies in it. `columns` says which columns of parquet files are meant.
///
/// # Errors
/// `Error::Argument` for names that do not go together; `Error::Data` for a picture without a caption where captions
/// are required and others have one; those of the kind that it is.
pub fn open(
    names: &[String],
    captions: CaptionNeed,
    faulty: Faulty,
    columns: &Columns,
    cache: &Path,
) -> Result<Box<dyn Collection>> {
    let collection = open_any(names, captions, faulty, columns, cache)?;
    let bare: Vec<usize> = (0..collection.len()).filter(|&i| collection.captions(i).is_empty()).collect();
    let some = bare.len() < collection.len();
    match bare.first() {
        Some(&first) if captions == CaptionNeed::Required && some => Err(Error::data(
            "captions",
            "one for each picture",
            format!("none for {} of {}, the first: {}", bare.len(), collection.len(), collection.name(first)),
        )),
        _ => Ok(collection),
    }
}

/// What to say of data without any caption: where captions are looked for.
pub fn captions_expected() -> String {
    format!(
        "captions: in `NAME.txt` or `NAME.caption` beside `NAME.jpg`, in `{METADATA_JSONL}` or `{METADATA_CSV}`, as names \
         of folders, in `.txt` or `.json` members of tar shards, or in a column of parquet files"
    )
}

fn open_any(
    names: &[String],
    captions: CaptionNeed,
    faulty: Faulty,
    columns: &Columns,
    cache: &Path,
) -> Result<Box<dyn Collection>> {
    let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    let listed = |(name, path): (&String, &PathBuf)| is_url(name) || (!path.exists() && name.contains('{'));
    if names.iter().zip(&paths).any(listed) {
        return sampled(WebDataset::open(&resolve(names, cache)?)?, captions, faulty);
    }
    let all_are = |extension: &str| {
        !paths.is_empty() && paths.iter().all(|path| path.is_file() && has_extension(path, extension))
    };
    if all_are("tar") {
        return sampled(WebDataset::open(&paths)?, captions, faulty);
    }
    if all_are("parquet") {
        return spilled(Parquet::open(&paths, columns, captions)?, faulty, cache);
    }
    let [folder] = paths.as_slice() else {
        let expected = "one folder, or several .tar or several .parquet files";
        return Err(Error::argument("data", expected, names.join(" ")));
    };
    let any = |extensions: &[&str]| -> Result<bool> {
        Ok(extensions
            .iter()
            .map(|extension| holds(folder, extension))
            .collect::<Result<Vec<_>>>()?
            .contains(&true))
    };
    let metadata = [METADATA_JSONL, METADATA_CSV].iter().any(|name| folder.join(name).exists());
    let shards = any(&["tar", "gz", "tgz"])?;
    let tables = any(&["parquet"])?
        || subfolders(folder)?.iter().any(|inside| holds(inside, "parquet").unwrap_or(false));
    if !metadata && (shards || tables) {
        if any(&picture::ENDINGS)? || (shards && tables) {
            let expected = "a folder of pictures, of tar shards or of parquet files, not of several kinds";
            return Err(Error::argument("data", expected, folder.display()));
        }
        return if shards {
            sampled(WebDataset::open_folder(folder)?, captions, faulty)
        } else {
            spilled(Parquet::open_folder(folder, columns, captions)?, faulty, cache)
        };
    }
    Ok(Box::new(match (faulty, captions) {
        (Faulty::LeftOut, need) => ImageFolder::open_usable(folder, need)?,
        (Faulty::Refused, CaptionNeed::Required) => ImageFolder::open(folder)?,
        (Faulty::Refused, CaptionNeed::Optional) => ImageFolder::open_for_pictures(folder)?,
    }))
}

/// Folders in `folder`; none if there is no such folder.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths = entries.map(|entry| Ok(entry.map_err(Error::io("read", folder))?.path()));
    Ok(paths.collect::<Result<Vec<_>>>()?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Samples of shards. Where captions are needed and some have none, these are left out with the other faults.
fn sampled(shards: WebDataset, captions: CaptionNeed, faulty: Faulty) -> Result<Box<dyn Collection>> {
    refuse(&shards, faulty, "WebDataset shard")?;
    let drop = captions == CaptionNeed::Required && faulty == Faulty::LeftOut;
    Ok(Box::new(if drop { shards.without_captionless() } else { shards }))
}

/// Pictures by position: a parquet file unpacks a whole page for each.
fn spilled(files: Parquet, faulty: Faulty, cache: &Path) -> Result<Box<dyn Collection>> {
    refuse(&files, faulty, "parquet")?;
    Ok(Box::new(files.spilled(cache, &mut |_, _| Ok(()))?))
}

/// Refuses the first fault, unless faults are left out.
fn refuse(collection: &dyn Collection, faulty: Faulty, format: &'static str) -> Result<()> {
    match collection.faults().into_iter().next() {
        Some(Fault { file, reason, .. }) if faulty == Faulty::Refused => {
            Err(Error::format(file, format, reason))
        }
        _ => Ok(()),
    }
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
