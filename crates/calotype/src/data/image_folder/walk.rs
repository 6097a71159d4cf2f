//! The files of a folder: which are pictures, which are captions, and where links lead.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::unicode_name::composed;
use super::{FORMAT, METADATA_CSV, METADATA_JSONL};
use crate::data::collection::{Fault, FaultKind, Faults};
use crate::data::picture;
use crate::error::{Error, Result};

/// Why a link is refused.
pub(super) const LINK_OUTSIDE: &str = "it is a link to a file outside of the folder";

/// What a search has found; all paths are relative to the folder.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Sorted.
    pub(super) pictures: Vec<PathBuf>,
    /// Pictures of kinds that are not read, sorted.
    pub(super) unread: Vec<PathBuf>,
    /// Links to folders, which are not searched, sorted.
    pub(super) linked: Vec<PathBuf>,
    /// Text files by their path without the extension, accents composed.
    captions: HashMap<PathBuf, Vec<PathBuf>>,
}

impl Files {
    /// Text files of the same stem beside `picture`, sorted.
    pub(super) fn caption_files(&self, picture: &Path) -> &[PathBuf] {
        self.captions.get(&composed(&picture.with_extension(""))).map_or(&[], Vec::as_slice)
    }
}

/// Searches `dir`, whose real path is `real`, and its subfolders.
///
/// # Errors
/// `Error::Io` if a folder cannot be read; `Error::Format` if a picture or a caption is a link that leads
/// nowhere or out of `dir`, or if metadata lies in a subfolder.
pub(super) fn walk(dir: &Path, real: &Path, faults: &mut Faults) -> Result<Files> {
    let mut files = Files::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let full = dir.join(&folder);
        for entry in fs::read_dir(&full).map_err(Error::io("read", &full))? {
            let entry = entry.map_err(Error::io("read", &full))?;
            let relative = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(Error::io("read", entry.path()))?;
            if is_hidden(&relative) {
                continue;
            }
            if kind.is_dir() {
                folders.push(relative);
            } else if kind.is_symlink() && entry.path().is_dir() {
                files.linked.push(relative);
            } else if kind.is_file() || leads_to_a_file(&entry.path(), real, faults)? {
                files.add(dir, relative)?;
            }
        }
    }
    files.pictures.sort_unstable();
    files.unread.sort_unstable();
    files.linked.sort_unstable();
    files.captions.values_mut().for_each(|texts| texts.sort_unstable());
    Ok(files)
}

impl Files {
    fn add(&mut self, dir: &Path, file: PathBuf) -> Result<()> {
        if is_picture(&file) {
            self.pictures.push(file);
        } else if is_caption(&file) {
            self.captions.entry(composed(&file.with_extension(""))).or_default().push(file);
        } else if is_unread_picture(&file) {
            self.unread.push(file);
        } else if file.ends_with(METADATA_JSONL) || file.ends_with(METADATA_CSV) {
            // Without this, `train/` and `test/` with metadata would be taken for classes.
            let reason = "metadata in a subfolder is not read: open that folder by itself";
            return Err(Error::format(dir.join(file), FORMAT, reason));
        }
        Ok(())
    }
}

/// Whether `path`, which is neither a folder nor an ordinary file, is a link to be followed.
fn leads_to_a_file(path: &Path, real: &Path, faults: &mut Faults) -> Result<bool> {
    if !is_picture(path) && !is_caption(path) {
        return Ok(false);
    }
    let mut refuse = |kind, reason: &str| {
        let (file, reason) = (path.display().to_string(), reason.to_owned());
        faults.take(Fault { kind, file, line: None, reason }, FORMAT).map(|()| false)
    };
    match place(real, path) {
        Place::Inside => Ok(true),
        Place::Outside => refuse(FaultKind::Outside, LINK_OUTSIDE),
        Place::Nowhere if path.exists() => Ok(false), // a pipe
        Place::Nowhere => refuse(FaultKind::Missing, "it is a link to a file that does not exist"),
    }
}

/// Where a file really lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the folder.
    Inside,
    /// Outside of the folder, by a link.
    Outside,
    /// There is no such file, or it is not a file.
    Nowhere,
}

/// Where `path` really lies, seen from the folder whose real path is `real`.
pub(super) fn place(real: &Path, path: &Path) -> Place {
    match path.canonicalize() {
        Ok(target) if !target.starts_with(real) => Place::Outside,
        Ok(target) if target.is_file() => Place::Inside,
        _ => Place::Nowhere,
    }
}

/// By name: the content is looked at when the picture is decoded.
pub(crate) fn is_picture(path: &Path) -> bool {
    has_extension(path, &picture::ENDINGS)
}

/// Whether a file is called as a picture of a kind that is not read.
pub(crate) fn is_unread_picture(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(picture::is_unread_kind)
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_caption(path: &Path) -> bool {
    has_extension(path, &["txt", "caption"])
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    path.extension().is_some_and(|extension| known.iter().any(|one| extension.eq_ignore_ascii_case(one)))
}
