//! Pictures read from the parquet files themselves.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::ByteArrayType;

use super::chunk::Chunk;
use crate::error::{Error, Result};

/// Readers that are kept for the next picture. Each holds a page, decompressed: about 1 MB from today's
/// writers, a whole row group from some old ones.
const CURSORS: usize = 8;

/// The pictures of one row group.
pub(super) struct PictureGroup {
    /// Number of its file.
    pub file: usize,
    pub chunk: Chunk,
    /// Number of the group's first row in its file.
    pub first_row: usize,
}

/// The pictures of all row groups.
#[derive(Default)]
pub(super) struct PictureGroups {
    groups: Vec<PictureGroup>,
    /// Not in use by any thread, the most recently used last.
    idle: Mutex<VecDeque<Cursor>>,
}

/// A reader on its way through a row group: reading on costs nothing more, going back means a new one.
pub(super) struct Cursor {
    group: u32,
    next: usize,
    reader: ColumnReaderImpl<ByteArrayType>,
}

impl PictureGroups {
    pub(super) fn push(&mut self, group: PictureGroup) {
        self.groups.push(group);
    }

    /// The number that the next group will have.
    pub(super) fn next_group(&self) -> Result<u32> {
        let next = self.groups.len();
        next.try_into().map_err(|_| Error::argument("row groups", format!("at most {}", u32::MAX), next))
    }

    pub(super) fn group(&self, group: u32) -> &PictureGroup {
        &self.groups[group as usize]
    }

    /// All rows, those without a picture too.
    pub(super) fn rows(&self) -> usize {
        self.groups.iter().map(|group| group.chunk.rows()).sum()
    }

    /// The groups of a file.
    pub(super) fn of_file(&self, file: usize) -> &[PictureGroup] {
        let start = self.groups.partition_point(|group| group.file < file);
        let end = self.groups.partition_point(|group| group.file <= file);
        &self.groups[start..end]
    }

    /// The picture in `row` of `group`.
    pub(super) fn read(&self, group: u32, row: usize) -> Result<Vec<u8>> {
        let chunk = &self.group(group).chunk;
        let mut cursor = match self.take(group, row) {
            Some(cursor) => cursor,
            None => Cursor::new(group, chunk)?,
        };
        let picture = cursor.read(chunk, row)?;
        // A reader that failed is not put back.
        self.put(cursor);
        picture.ok_or_else(|| chunk.fault(row, "no picture, though the footer promised one in each row"))
    }

    /// The idle cursor in `group` that is nearest before `row`.
    fn take(&self, group: u32, row: usize) -> Option<Cursor> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let before =
            idle.iter().enumerate().filter(|(_, cursor)| cursor.group == group && cursor.next <= row);
        let (nearest, _) = before.max_by_key(|(_, cursor)| cursor.next)?;
        idle.remove(nearest)
    }

    fn put(&self, cursor: Cursor) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(cursor);
        let oldest = if idle.len() > CURSORS { idle.pop_front() } else { None };
        // Freeing its page is not the others' wait.
        drop(idle);
        drop(oldest);
    }
}

impl Cursor {
    pub(super) fn new(group: u32, chunk: &Chunk) -> Result<Self> {
        let ColumnReader::ByteArrayColumnReader(reader) = chunk.reader()? else {
            return Err(chunk.fault(0, "pictures are not bytes"));
        };
        Ok(Self { group, next: 0, reader })
    }

    /// The picture in `row`, which must not be before the last one read; `None` where there is none.
    pub(super) fn read(&mut self, chunk: &Chunk, row: usize) -> Result<Option<Vec<u8>>> {
        let ahead = row - self.next;
        let skipped = chunk.skip(&mut self.reader, ahead)?;
        let mut records = chunk.read(&mut self.reader, 1)?;
        if skipped != ahead || records.rows != 1 {
            return Err(chunk.wrong_length(self.next + skipped + records.rows));
        }
        self.next = row + 1;
        Ok(records.values.pop().map(|value| value.data().to_vec()))
    }
}
