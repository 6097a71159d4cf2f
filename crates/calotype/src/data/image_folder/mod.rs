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
//! the folder are followed; links out of it are refused, and links to folders are not searched.

mod class_folder;
mod csv;
mod metadata;
mod named;
mod sidecar;
mod walk;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use self::walk::{Place, walk};
use super::collection::Collection;
use crate::error::{Error, Result};

/// JSON lines with `file_name`, and `text` or `caption`.
pub const METADATA_JSONL: &str = "metadata.jsonl";
/// A table with the columns `file_name`, and `text` or `caption`.
pub const METADATA_CSV: &str = "metadata.csv";

/// For errors about the folder as a whole.
const FORMAT: &str = "image folder";

/// How a folder says its captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
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

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::MetadataJsonl => METADATA_JSONL,
            Layout::MetadataCsv => METADATA_CSV,
            Layout::CaptionFiles => "caption files",
            Layout::ClassFolders => "class folders",
            Layout::PicturesOnly => "pictures without captions",
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

/// Whether a picture may be without captions where others have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Captions {
    Required,
    Optional,
}

/// An opened image folder: the captions are read, the pictures are not.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    dir: PathBuf,
    layout: Layout,
    entries: Vec<Entry>,
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
        Self::open_with(dir, Captions::Required)
    }

    /// Opens `dir` for who needs only the pictures, such as the training of a VAE: the same pictures in
    /// the same order as [`ImageFolder::open`], with those captions that can be used, if any.
    ///
    /// # Errors
    /// As [`ImageFolder::open`], but for missing and unusable captions.
    pub fn open_for_pictures(dir: &Path) -> Result<Self> {
        Self::open_with(dir, Captions::Optional)
    }

    fn open_with(dir: &Path, need: Captions) -> Result<Self> {
        let real = dir.canonicalize().map_err(Error::io("read", dir))?;
        let (layout, entries) = if let Some(bytes) = read_if_there(dir, &real, METADATA_JSONL)? {
            let path = dir.join(METADATA_JSONL);
            (Layout::MetadataJsonl, metadata::read(&path, &bytes)?.entries(dir, &real, need)?)
        } else if let Some(bytes) = read_if_there(dir, &real, METADATA_CSV)? {
            let path = dir.join(METADATA_CSV);
            (Layout::MetadataCsv, csv::read(&path, &bytes, need)?.entries(dir, &real, need)?)
        } else {
            search(dir, &real, need)?
        };
        Ok(Self { dir: dir.to_owned(), layout, entries })
    }

    /// The folder as it was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What said the captions.
    pub fn layout(&self) -> Layout {
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
        if !matches!(self.layout, Layout::MetadataJsonl | Layout::MetadataCsv) {
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
        unnamed.iter().map(|path| format!("no line of the metadata names `{}`", path.display())).collect()
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

/// The pictures of a folder without metadata.
fn search(dir: &Path, real: &Path, need: Captions) -> Result<(Layout, Vec<Entry>)> {
    let files = walk(dir, real)?;
    if files.pictures.is_empty() {
        return Err(Error::format(dir, FORMAT, "it holds no picture (.png, .jpg, .jpeg or .webp)"));
    }
    if files.pictures.iter().any(|picture| !files.caption_files(picture).is_empty()) {
        return Ok((Layout::CaptionFiles, sidecar::entries(dir, &files, need)?));
    }
    let at_the_top = |picture: &PathBuf| picture.parent() == Some(Path::new(""));
    if !files.pictures.iter().any(at_the_top) {
        return Ok((Layout::ClassFolders, class_folder::entries(dir, &files.pictures)?));
    }
    let entry = |picture| Entry { path: dir.join(picture), captions: Vec::new() };
    Ok((Layout::PicturesOnly, files.pictures.iter().map(entry).collect()))
}

/// Bytes without the byte order mark that some editors put before UTF-8.
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests;
