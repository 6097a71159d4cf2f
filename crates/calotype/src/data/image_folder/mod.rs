//! A folder of pictures as people keep them, with or without captions.
//!
//! What says the captions is found out by looking, in this order; the first that is there decides:
//! 1. [`METADATA_JSONL`], the layout of Hugging Face's `imagefolder`: one object per line;
//! 2. [`METADATA_CSV`]: the same as a table with a header;
//! 3. caption files: `cat.txt` or `cat.caption` beside `cat.jpg`, in any subfolder;
//! 4. class folders: all pictures lie in subfolders, and the name of the folder is the caption;
//! 5. pictures without captions, which are enough to train a VAE.
//!
//! Hidden files and folders, and files that are not called as pictures, are ignored. Links to files in
//! the folder are followed; links out of it are refused, and links to folders are not searched. Folders at the top that
//! are all called `train`, `test` and the like are splits, as Hugging Face has them: no classes.

mod class_folder;
mod csv;
mod metadata;
mod named;
mod sidecar;
mod unicode_name;
pub(crate) mod walk;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use self::walk::{Place, walk};
use super::collection::{CaptionNeed, Collection, Fault, Faults};
use super::picture;
use super::splits::{is_held_out, is_split};
use crate::error::{Error, Result};

/// JSON lines with `file_name`, and `text` or `caption`.
pub const METADATA_JSONL: &str = "metadata.jsonl";
/// A table with the columns `file_name`, and `text` or `caption`.
pub const METADATA_CSV: &str = "metadata.csv";

/// For errors about the folder as a whole.
const FORMAT: &str = "image folder";

/// How a folder says its captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderLayout {
    /// [`METADATA_JSONL`].
    MetadataJsonl,
    /// [`METADATA_CSV`].
    MetadataCsv,
    /// A text file of the same stem beside each picture.
    CaptionFiles,
    /// The caption is the name of the folder that the picture lies in.
    ClassFolders,
    /// No captions.
    PicturesOnly,
}

impl fmt::Display for FolderLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FolderLayout::MetadataJsonl => METADATA_JSONL,
            FolderLayout::MetadataCsv => METADATA_CSV,
            FolderLayout::CaptionFiles => "caption files",
            FolderLayout::ClassFolders => "class folders",
            FolderLayout::PicturesOnly => "pictures without captions",
        })
    }
}

/// One picture and its captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The picture's file.
    pub path: PathBuf,
    /// What is said about it; no caption is empty.
    pub captions: Vec<String>,
}

/// An opened image folder: the captions are read, the pictures are not.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    dir: PathBuf,
    layout: FolderLayout,
    entries: Vec<Entry>,
    /// What a search has found and left out.
    left_out: Vec<String>,
    faults: Vec<Fault>,
}

impl ImageFolder {
    /// Opens `dir`, whose pictures all have captions, or none has.
    ///
    /// The pictures are in the order of the metadata, otherwise sorted by path.
    ///
    /// # Errors
    /// `Error::Io` if the folder or a file with captions cannot be read. `Error::Format` if there is no
    /// picture; if metadata (with the line's number) is malformed, has no caption, or names a file that
    /// is missing, outside of `dir` or named before; if a picture has no caption where others have one;
    /// if a picture is a link out of `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, CaptionNeed::Required, Faults::refused())
    }

    /// Opens `dir` for those who need only the pictures, such as the training of a VAE: the same pictures in
    /// the same order as [`ImageFolder::open`], with those captions that can be used, if any.
    ///
    /// # Errors
    /// As [`ImageFolder::open`], but for missing and unusable captions.
    pub fn open_for_pictures(dir: &Path) -> Result<Self> {
        Self::open_with(dir, CaptionNeed::Optional, Faults::refused())
    }

    /// Opens `dir` with all that can be used of it; every fault is listed in [`Collection::faults`]. A picture without
    /// captions, where others have some, is such a fault if they are needed, otherwise it is kept.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if nothing can be used, with the first faults, or if the metadata as a whole cannot.
    pub fn open_usable(dir: &Path, need: CaptionNeed) -> Result<Self> {
        Self::open_with(dir, need, Faults::listed())
    }

    fn open_with(dir: &Path, need: CaptionNeed, mut faults: Faults) -> Result<Self> {
        const SHOWN: usize = 20;
        let real = dir.canonicalize().map_err(Error::io("read", dir))?;
        let mut left_out = Vec::new();
        let (layout, entries) = if let Some(bytes) = read_if_there(dir, &real, METADATA_JSONL)? {
            let named = metadata::read(&dir.join(METADATA_JSONL), &bytes, &mut faults)?;
            (FolderLayout::MetadataJsonl, named.entries(dir, &real, need, &mut faults)?)
        } else if let Some(bytes) = read_if_there(dir, &real, METADATA_CSV)? {
            let named = csv::read(&dir.join(METADATA_CSV), &bytes, need, &mut faults)?;
            (FolderLayout::MetadataCsv, named.entries(dir, &real, need, &mut faults)?)
        } else {
            search(dir, &real, need, &mut faults, &mut left_out)?
        };
        let faults = faults.into_list();
        if entries.is_empty() {
            let shown = faults.iter().take(SHOWN).map(|fault| format!("\n  {fault}")).collect::<String>();
            let reason = format!("no picture in it can be used; {} faults:{shown}", faults.len());
            return Err(Error::format(dir, FORMAT, reason));
        }
        Ok(Self { dir: dir.to_owned(), layout, entries, left_out, faults })
    }

    /// The folder as it was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What said the captions.
    pub fn layout(&self) -> FolderLayout {
        self.layout
    }

    /// The pictures in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Picture files that the metadata does not name, sorted, in `dir` and in the folders of those that
    /// it names; other folders, such as `masks`, are left alone. Empty without metadata.
    ///
    /// # Errors
    /// `Error::Io` if a folder cannot be read.
    pub fn unnamed(&self) -> Result<Vec<PathBuf>> {
        if !matches!(self.layout, FolderLayout::MetadataJsonl | FolderLayout::MetadataCsv) {
            return Ok(Vec::new());
        }
        let named: HashSet<&Path> = self.entries.iter().map(|entry| entry.path.as_path()).collect();
        let folders: HashSet<&Path> =
            named.iter().filter_map(|path| path.parent()).chain([self.dir.as_path()]).collect();
        let mut unnamed = Vec::new();
        for folder in folders {
            for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
                let path = entry.map_err(Error::io("read", folder))?.path();
                if walk::is_picture(&path) && !walk::is_hidden(&path) && !named.contains(path.as_path()) {
                    unnamed.push(path);
                }
            }
        }
        unnamed.sort_unstable();
        Ok(unnamed)
    }
}

impl Collection for ImageFolder {
    fn left_out(&self) -> Vec<String> {
        // What cannot be listed now could be when the folder was opened: there is nothing to say then.
        let unnamed = self.unnamed().unwrap_or_default();
        let unnamed =
            unnamed.iter().map(|path| format!("no line of the metadata names `{}`", path.display()));
        self.left_out.iter().cloned().chain(unnamed).collect()
    }

    fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, i: usize) -> String {
        self.entries[i].path.display().to_string()
    }

    fn captions(&self, i: usize) -> &[String] {
        &self.entries[i].captions
    }

    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let path = &self.entries[i].path;
        fs::read(path).map(Cow::Owned).map_err(Error::io("read", path))
    }
}

/// The metadata file `name`, if there is one.
fn read_if_there(dir: &Path, real: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = dir.join(name);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    if walk::place(real, &path) == Place::Outside {
        return Err(Error::format(path, FORMAT, walk::LINK_OUTSIDE));
    }
    fs::read(&path).map(Some).map_err(Error::io("read", &path))
}

/// The pictures of a folder without metadata, and what of it is `left_out`.
fn search(
    dir: &Path,
    real: &Path,
    need: CaptionNeed,
    faults: &mut Faults,
    left_out: &mut Vec<String>,
) -> Result<(FolderLayout, Vec<Entry>)> {
    let mut files = walk(dir, real, faults)?;
    let shown = |path: &Path| dir.join(path).display().to_string();
    let ending = |path: &Path| path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let unread =
        files.unread.iter().map(|path| format!("`{}`: {}", shown(path), picture::unread_kind(&ending(path))));
    left_out.extend(unread);
    let linked = files.linked.iter().map(|path| {
        format!("`{}` is a link to a folder, which is not searched: open that folder by itself", shown(path))
    });
    left_out.extend(linked);
    let splits = split_folders(&files.pictures);
    if splits {
        leave_out_held_out(dir, &mut files.pictures, left_out);
    }
    if files.pictures.is_empty() && !faults.are_listed() {
        let more = left_out.first().map_or(String::new(), |line| format!("; {line}"));
        let reason = format!("it holds no picture (.{}){more}", picture::ENDINGS.join(", ."));
        return Err(Error::format(dir, FORMAT, reason));
    }
    if files.pictures.iter().any(|picture| !files.caption_files(picture).is_empty()) {
        return Ok((FolderLayout::CaptionFiles, sidecar::entries(dir, &files, need, faults)?));
    }
    let depth = |picture: &PathBuf| picture.iter().count();
    let classless = if splits { 2 } else { 1 };
    let classes = if splits {
        files.pictures.iter().any(|picture| depth(picture) > classless)
    } else {
        !files.pictures.is_empty() && files.pictures.iter().all(|picture| depth(picture) > classless)
    };
    if classes {
        return Ok((FolderLayout::ClassFolders, class_folder::entries(dir, &files.pictures, splits)?));
    }
    let entry = |picture| Entry { path: dir.join(picture), captions: Vec::new() };
    Ok((FolderLayout::PicturesOnly, files.pictures.iter().map(entry).collect()))
}

/// Whether the folders at the top are all splits by their names, and hold all pictures.
fn split_folders(pictures: &[PathBuf]) -> bool {
    let top = |picture: &PathBuf| -> Option<bool> {
        let mut parts = picture.iter();
        let first = parts.next()?.to_str()?;
        parts.next().map(|_| is_split(first))
    };
    !pictures.is_empty() && pictures.iter().all(|picture| top(picture) == Some(true))
}

/// Takes the pictures of held-out splits away, if there are others.
fn leave_out_held_out(dir: &Path, pictures: &mut Vec<PathBuf>, left_out: &mut Vec<String>) {
    let split =
        |picture: &PathBuf| picture.iter().next().map(Path::new).map(Path::to_owned).unwrap_or_default();
    let (held_out, taken): (Vec<PathBuf>, Vec<PathBuf>) =
        pictures.drain(..).partition(|picture| is_held_out(&split(picture).to_string_lossy()));
    // Whoever has only a test set means it.
    if taken.is_empty() {
        *pictures = held_out;
        return;
    }
    *pictures = taken;
    let mut counts = BTreeMap::new();
    held_out.iter().for_each(|picture| *counts.entry(split(picture)).or_insert(0) += 1);
    left_out.extend(counts.into_iter().map(|(folder, count)| {
        format!("`{}`: {count} pictures of a held-out split", dir.join(folder).display())
    }));
}

#[cfg(test)]
mod tests;
