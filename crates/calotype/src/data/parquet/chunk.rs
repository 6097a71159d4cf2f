//! One column in one row group of a file: where it lies, checked, and a reader of its values.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::page_index::offset_index::PageLocation;
use ::parquet::file::reader::SerializedPageReader;

use super::FORMAT;
use crate::error::{Error, Result};
use crate::files::content;

/// Pages without a value that may follow one another.
const EMPTY_PAGES: usize = 4;

/// A parquet file by its path. Each reader opens it anew: data sets have thousands of files, more than a
/// process may hold open, and readers of one handle would move each other's position.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    length: u64,
}

impl Input {
    pub(super) fn new(path: &Path) -> Result<Self> {
        content::refuse_mistaken(path, FORMAT)?;
        let length =
            File::open(path).and_then(|file| file.metadata()).map_err(Error::io("read", path))?.len();
        Ok(Self { path: path.to_owned(), length })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(Error::io("read", &self.path))
    }
}

/// A column chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    input: Arc<Input>,
    column: ColumnChunkMetaData,
    /// Rows of the row group, as the footer says.
    rows: usize,
    /// Number of its first row in the file, for messages.
    first_row: usize,
    /// Where its pages lie, if the file has an offset index.
    pages: Option<Vec<PageLocation>>,
}

impl Chunk {
    /// The chunk of `column` in a group of `rows` rows, once its pages are seen to lie inside of the file.
    ///
    /// # Errors
    /// `Error::Format` if the chunk or one of its pages is not inside of the file.
    pub(super) fn new(
        input: Arc<Input>,
        column: ColumnChunkMetaData,
        rows: usize,
        first_row: usize,
        pages: Option<Vec<PageLocation>>,
    ) -> Result<Self> {
        // The parquet crate asserts and subtracts where this checks.
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let length = column.compressed_size();
        let end =
            start.checked_add(length).filter(|&end| start >= 0 && length >= 0 && end as u64 <= input.length);
        let Some(end) = end else {
            let name = column.column_path().string();
            let reason =
                format!("column `{name}` should lie at {start}, {length} bytes long: outside of the file");
            return Err(Error::format(&input.path, FORMAT, reason));
        };
        let pages = pages.filter(|pages| !pages.is_empty());
        if pages.as_ref().is_some_and(|pages| !in_order(pages, start, end, rows)) {
            return Err(Error::format(&input.path, FORMAT, "its offset index does not fit its pages"));
        }
        Ok(Self { input, column, rows, first_row, pages })
    }

    pub(super) fn path(&self) -> &Path {
        &self.input.path
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The definition level of a value that is there; smaller ones say which part of its path is null.
    pub(super) fn present(&self) -> i16 {
        self.column.column_descr().max_def_level()
    }

    /// Whether the footer promises that no value is missing.
    pub(super) fn complete(&self) -> bool {
        self.present() == 0 || self.column.statistics().and_then(|s| s.null_count_opt()) == Some(0)
    }

    /// A reader at the chunk's first row.
    pub(super) fn reader(&self) -> Result<ColumnReader> {
        let file = Arc::new(self.input.open()?);
        guarded(self.path(), &self.part(), || {
            let pages = SerializedPageReader::new(file, &self.column, self.rows, self.pages.clone())?;
            Ok(get_column_reader(self.column.column_descr_ptr(), Box::new(pages)))
        })
    }

    /// What is wrong with a row of this chunk.
    pub(super) fn fault(&self, row: usize, reason: impl std::fmt::Display) -> Error {
        Error::format(self.path(), FORMAT, format!("row {}: {reason}", self.first_row + row))
    }

    /// The next rows of a reader of this chunk: at most `most`, none only at its end. After an error the
    /// reader must not be used.
    pub(super) fn read<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        most: usize,
    ) -> Result<Records<T>> {
        guarded(self.path(), &self.part(), || Records::read(reader, most))
    }

    /// Passes over rows; the number of those that were there. After an error the reader must not be used.
    pub(super) fn skip<T: DataType>(&self, reader: &mut ColumnReaderImpl<T>, rows: usize) -> Result<usize> {
        guarded(self.path(), &self.part(), || reader.skip_records(rows))
    }

    fn part(&self) -> String {
        let (first, end) = (self.first_row, self.first_row + self.rows);
        format!("column `{}`, rows {first} to {end}", self.column.column_path().string())
    }

    /// The chunk ends before or after the rows that the footer promised.
    pub(super) fn wrong_length(&self, got: usize) -> Error {
        let name = self.column.column_path().string();
        let reason = format!("column `{name}` has {got} rows where the footer says {}", self.rows);
        self.fault(0, reason)
    }
}

/// Values and levels of some rows.
pub(super) struct Records<T: DataType> {
    /// How many rows.
    pub rows: usize,
    /// The values that are there.
    pub values: Vec<T::T>,
    /// How much of its path is there, one for each place of a value; empty if the column is never null.
    pub definitions: Vec<i16>,
    /// 0 where a row begins, one for each place of a value; empty if the column is no list.
    pub repetitions: Vec<i16>,
}

impl<T: DataType> Records<T> {
    fn read(reader: &mut ColumnReaderImpl<T>, most: usize) -> std::result::Result<Self, ParquetError> {
        let mut records =
            Self { rows: 0, values: Vec::new(), definitions: Vec::new(), repetitions: Vec::new() };
        // An empty page, which pyarrow writes before a row larger than a page, reads as an end.
        for _ in 0..EMPTY_PAGES {
            let Self { values, definitions, repetitions, .. } = &mut records;
            records.rows = reader.read_records(most, Some(definitions), Some(repetitions), values)?.0;
            if records.rows > 0 {
                break;
            }
        }
        Ok(records)
    }
}

fn in_order(pages: &[PageLocation], start: i64, end: i64, rows: usize) -> bool {
    let inside = |page: &PageLocation| {
        page.compressed_page_size >= 0
            && page.offset >= start
            && page.offset.checked_add(page.compressed_page_size.into()).is_some_and(|after| after <= end)
    };
    let ascending = pages.windows(2).all(|two| two[0].first_row_index <= two[1].first_row_index);
    let last = pages.last().is_none_or(|page| (page.first_row_index as u64) < rows.max(1) as u64);
    pages.iter().all(inside)
        && ascending
        && last
        && pages.first().is_none_or(|page| page.first_row_index == 0)
}

/// Reads `part` of a file by the parquet crate, which panics on some damaged pages: version 60.1 slices them
/// by lengths that it has read from them, and takes for granted that a dictionary precedes what uses it.
pub(super) fn guarded<T>(
    path: &Path,
    part: &str,
    read: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> Result<T> {
    // What `read` may leave half changed is a reader, and readers are dropped after an error.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refused(path, part, error)),
        Err(_) => Err(Error::format(path, FORMAT, format!("{part}: its pages contradict themselves"))),
    }
}

fn refused(path: &Path, part: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            // The system's error; decompressors make their own.
            Ok(source) if source.raw_os_error().is_some() => Error::io("read", path)(*source),
            Ok(source) => Error::format(path, FORMAT, format!("{part}: {source}")),
            Err(source) => Error::format(path, FORMAT, format!("{part}: {source}")),
        },
        other => Error::format(path, FORMAT, format!("{part}: {other}")),
    }
}
