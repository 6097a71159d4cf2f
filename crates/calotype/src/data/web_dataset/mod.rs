//! WebDataset: captioned pictures in tar files ("shards"), as img2dataset and the `webdataset` package write
//! them.
//!
//! Members that share the path up to the first dot of the base name are one sample: `0/cat.jpg`, `0/cat.txt`
//! and `0/cat.cls` are the sample `0/cat`. They follow one another in the shard.
//!
//! | member | what it is |
//! |---|---|
//! | `.jpg`, `.jpeg`, `.png`, `.webp` | the picture, exactly one; without it `.gif`, `.bmp`, `.tiff`, `.tif`, `.jpe`, `.jfif` |
//! | `.txt`, `.text`, `.caption`, `.captions` | captions, one a line |
//! | `.json` | captions under `caption`, `text`, `captions` or `texts`: a string or a list of strings |
//! | `.cls` | the class: a number, or a name, which is the caption where there is no other |
//!
//! Upper and lower case of an extension are the same. Other members (`.seg.png`, `.npy`, names without an
//! extension, names that begin with a dot) are left alone. Opening reads the headers and the texts;
//! pictures are read when they are asked for, by any number of threads.

pub mod brace_list;
mod captions;
mod index;
mod members;
pub mod remote;
mod shard;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::data::collection::{Collection, Fault, FaultKind};
use crate::error::{Error, Result};
use index::Sample;
use shard::Shard;

/// Up to so many shards stay open; systems let a process open as few as 256 files.
const OPEN_SHARDS: usize = 64;

/// Opened shards: where each picture lies, and what is said about it.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<Shard>,
    /// Each with the number of its shard.
    samples: Vec<(usize, Sample)>,
    faults: Vec<Fault>,
    left_out: Vec<String>,
}

impl WebDataset {
    /// Indexes the tar files `paths`; pictures keep their order.
    ///
    /// # Errors
    /// - `Error::Argument` if there is no path.
    /// - `Error::Io` if a shard cannot be read.
    /// - `Error::Format`, with the shard and mostly the byte, if it is compressed, damaged or cut short; if it
    ///   holds a sparse file or no sample at all; if a key or a member's name comes twice; if no sample of any can be
    ///   used.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::argument("shards of a WebDataset", "at least one tar file", "none"));
        }
        let shards = Vec::with_capacity(paths.len());
        let mut opened = Self { shards, samples: vec![], faults: vec![], left_out: vec![] };
        for (number, path) in paths.iter().enumerate() {
            let indexed = index::index(path)?;
            opened.samples.extend(indexed.samples.into_iter().map(|sample| (number, sample)));
            opened.faults.extend(indexed.faults);
            opened.left_out.extend(indexed.left_out);
            let file = (paths.len() <= OPEN_SHARDS).then_some(indexed.file);
            opened.shards.push(Shard::new(path.clone(), file));
        }
        if let (Some(first), true) = (opened.faults.first(), opened.samples.is_empty()) {
            let count = opened.faults.len();
            let reason = format!("no sample can be used; {count} faults, the first: {first}");
            return Err(Error::format(&paths[0], "WebDataset shard", reason));
        }
        Ok(opened)
    }

    /// Indexes every `*.tar` of the folder `dir`, in the order of their names.
    ///
    /// # Errors
    /// `Error::Io` if the folder cannot be read; `Error::Format` if it has no tar file, or has a compressed
    /// one that is not there uncompressed too; else as [`WebDataset::open`].
    pub fn open_folder(dir: &Path) -> Result<Self> {
        let mut tars = Vec::new();
        let mut compressed = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let path = entry.map_err(Error::io("read", dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            if name.starts_with('.') {
                continue;
            } else if name.ends_with(".tar") {
                tars.push(path);
            } else if index::is_gzip_name(&name) {
                compressed.push(path);
            }
        }
        tars.sort_unstable();
        compressed.sort_unstable();
        // `a.tar.gz` without its `.gz` is `a.tar`; `a.tgz` is unpacked to that too.
        let unpacked = |path: &Path| match path.with_extension("") {
            tar if tar.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar")) => tar,
            stem => stem.with_added_extension("tar"),
        };
        if let Some(path) = compressed.iter().find(|path| !tars.contains(&unpacked(path))) {
            return Err(index::compressed(path));
        }
        if tars.is_empty() {
            return Err(Error::format(dir, "folder of WebDataset shards", "it has no file `*.tar`"));
        }
        Self::open(&tars)
    }

    /// Without the samples that have no caption where others have one: they are faults then.
    pub(super) fn without_captionless(mut self) -> Self {
        if self.samples.iter().all(|(_, sample)| sample.captions.is_empty()) {
            return self;
        }
        let (kept, bare): (Vec<_>, Vec<_>) =
            self.samples.into_iter().partition(|(_, sample)| !sample.captions.is_empty());
        self.samples = kept;
        self.faults.extend(bare.into_iter().map(|(shard, sample)| Fault {
            kind: FaultKind::Caption,
            file: format!("{}: {}", self.shards[shard].path().display(), sample.name),
            line: None,
            reason: "no caption, where other samples have one".into(),
        }));
        self
    }
}

/// `name` and `captions` panic unless `i` is less than the length, as slices do.
impl Collection for WebDataset {
    /// Links and devices that are not called as parts of a sample.
    fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }

    /// Samples without a picture, with two, or with an empty or too large one; those with a text that is longer than
    /// 1 MiB, not UTF-8, or not the JSON described above; pictures and texts that are links or devices.
    fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn name(&self, i: usize) -> String {
        let (shard, sample) = &self.samples[i];
        format!("{}: {}", self.shards[*shard].path().display(), sample.name)
    }

    fn captions(&self, i: usize) -> &[String] {
        &self.samples[i].1.captions
    }

    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let (shard, sample) = self.samples.get(i).ok_or_else(|| {
            Error::argument("index of a picture", format!("less than {}", self.samples.len()), i)
        })?;
        Ok(Cow::Owned(self.shards[*shard].read(&sample.name, sample.offset, sample.length)?))
    }
}

#[cfg(test)]
mod tests;
