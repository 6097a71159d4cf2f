//! A finite set of captioned pictures as a disk has them: not yet decoded, in no order of a run.

use std::borrow::Cow;

use crate::error::Result;

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

    /// The encoded picture `i` (PNG, JPEG or WebP).
    ///
    /// # Errors
    /// `Error::Io` if the file cannot be read, `Error::Format` if what holds it is damaged.
    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>>;
}
