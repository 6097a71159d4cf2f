//! A finite set of captioned pictures as a disk has them: not yet decoded, in no order of a run.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};

/// Whether every picture must have a caption where some have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionNeed {
    /// A picture without one cannot be used.
    Required,
    /// For those who look at the pictures alone, such as the training of a VAE.
    Optional,
}

/// Why a sample, or a line about one, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A line of the metadata is broken.
    Metadata,
    /// The file, or a sample's picture, is not there.
    Missing,
    /// The file lies outside of the folder.
    Outside,
    /// The file is named once more, or a sample has two pictures.
    Repeated,
    /// The caption is missing or cannot be read.
    Caption,
    /// The picture cannot be read.
    Unreadable,
}

/// One fault of a collection, as a script can act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The file to mend or to remove; in a shard or a table the member or the row, as [`Collection::name`] says it.
    pub file: String,
    /// Its line, from 1, where it has lines.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "`{}`: line {line}: {}", self.file, self.reason),
            None => write!(f, "`{}`: {}", self.file, self.reason),
        }
    }
}

/// What becomes of faults: an error at the first, or a list of all while the rest is used.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Option<Vec<Fault>>,
}

impl Faults {
    /// The first is an error.
    pub fn refused() -> Self {
        Self { listed: None }
    }

    /// All are listed.
    pub fn listed() -> Self {
        Self { listed: Some(Vec::new()) }
    }

    /// Whether they are listed.
    pub fn are_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// Lists a fault of a file that should be `format`.
    ///
    /// # Errors
    /// `Error::Format` about it where faults are refused.
    pub fn take(&mut self, fault: Fault, format: &'static str) -> Result<()> {
        match &mut self.listed {
            Some(all) => {
                all.push(fault);
                Ok(())
            }
            None => {
                let Fault { file, line, reason, .. } = fault;
                let reason = line.map_or(reason.clone(), |line| format!("line {line}: {reason}"));
                Err(Error::format(file, format, reason))
            }
        }
    }

    /// Those that were listed.
    pub fn into_list(self) -> Vec<Fault> {
        self.listed.unwrap_or_default()
    }
}

/// Pictures by number. Whatever holds them (a folder, tar shards, parquet files), training sees this.
#[expect(clippy::len_without_is_empty, reason = "an empty collection cannot be opened")]
pub trait Collection: Send + Sync {
    /// How many there are, at least 1.
    fn len(&self) -> usize;

    /// Where picture `i` lies, for messages: a path, `shard.tar: key.jpg`, `part.parquet: row 7`.
    fn name(&self, i: usize) -> String;

    /// What people say about picture `i`: any number of captions, none of them empty.
    fn captions(&self, i: usize) -> &[String];

    /// What of the source is not used, and why, each in a sentence.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// Samples, and lines about them, that cannot be used, where they were listed and not refused.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// The encoded picture `i` (PNG, JPEG, WebP, GIF, BMP or TIFF).
    ///
    /// # Errors
    /// `Error::Io` if the file cannot be read, `Error::Format` if what holds it is damaged.
    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>>;
}
