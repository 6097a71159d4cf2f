//! What a file's footer says: its columns and its row groups.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::chunk::{Chunk, Input, guarded};
use super::columns::{self, Columns, Leaf, Text};
use super::{ColumnNames, FORMAT};
use crate::error::{Error, Result};

/// Parts that a schema may have. The parquet crate goes down into it by recursion: one that is too deep would
/// end the program.
const ELEMENTS: u64 = 2000;
/// Stack for the deepest of them, in a build without optimisation: twice what it needs, in bytes.
const STACK: usize = 16 << 20;

/// A file as far as it is needed.
pub(super) struct Table {
    pub names: ColumnNames,
    pub groups: Vec<Group>,
    /// That a column called as captions are is not read, if there is one and no other.
    pub unread_captions: Option<String>,
}

/// A row group: its pictures and its captions.
pub(super) struct Group {
    /// Number of its first row in the file.
    pub first_row: usize,
    pub picture: Chunk,
    pub text: GroupText,
}

/// The captions of a row group.
pub(super) enum GroupText {
    None,
    Strings(Chunk),
    /// Classes, and the name of each.
    Classes(Chunk, Arc<[String]>),
}

/// Reads the footer of `path`, finds the columns, and checks where they lie.
pub(super) fn open(path: &Path, wanted: &Columns) -> Result<Table> {
    let input = Arc::new(Input::new(path)?);
    let (metadata, leaves) = read(&input)?;
    let unclear = |reason: String| Error::format(path, FORMAT, reason);
    let (image, image_name) = columns::image(&leaves, wanted.image.as_deref()).map_err(unclear)?;
    let text = columns::text(&leaves, &classes(path, &metadata)?, wanted.text.as_deref()).map_err(unclear)?;
    let names = ColumnNames { image: image_name, text: text.as_ref().map(|text| text.leaf().name.clone()) };
    let class_names: Arc<[String]> = match &text {
        Some(Text::Classes(_, names)) => names.clone().into(),
        _ => Arc::new([]),
    };
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    let mut first_row = 0_usize;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = rows(&input, group, first_row)?;
        let chunk = |leaf: &Leaf| chunk(&input, &metadata, number, leaf, rows, first_row);
        let text = match &text {
            None => GroupText::None,
            Some(Text::Strings(leaf)) => GroupText::Strings(chunk(leaf)?),
            Some(Text::Classes(leaf, _)) => GroupText::Classes(chunk(leaf)?, class_names.clone()),
        };
        groups.push(Group { first_row, picture: chunk(&image)?, text });
        first_row += rows;
    }
    let unread = if text.is_none() { columns::unread_captions(&leaves) } else { None };
    let unread_captions = unread.map(|reason| format!("`{}`: {reason}", path.display()));
    Ok(Table { names, groups, unread_captions })
}

fn read(input: &Input) -> Result<(ParquetMetaData, Vec<Leaf>)> {
    let mut file = input.open()?;
    let elements = schema_elements(&mut file, input.length()).map_err(Error::io("read", input.path()))?;
    let reason = match elements {
        Some(0..=ELEMENTS) => None,
        Some(more) => Some(format!("its schema has {more} parts; more than {ELEMENTS} are not read")),
        None => Some("it does not end as parquet files do: it is another file, or cut off".into()),
    };
    if let Some(reason) = reason {
        return Err(Error::format(input.path(), FORMAT, reason));
    }
    let read = || {
        let metadata = guarded(input.path(), "its footer", || {
            let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
            reader.parse_and_finish(&file)
        })?;
        let leaves = columns::leaves(metadata.file_metadata().schema_descr());
        Ok((metadata, leaves))
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK);
        let thread = builder.spawn_scoped(scope, read).map_err(Error::io("read", input.path()))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many parts the schema has, that is how deep it is at most; `None` if there is no footer, or it does
/// not begin as one.
///
/// The footer is a struct of Thrift's compact protocol: version (field 1, i32), schema (field 2, a list of
/// structs), and so on.
fn schema_elements(file: &mut File, length: u64) -> std::io::Result<Option<u64>> {
    let mut tail = [0; 8];
    if length < 12 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(length - 8))?;
    file.read_exact(&mut tail)?;
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(start) = (length - 8).checked_sub(footer).filter(|_| &tail[4..] == b"PAR1") else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut head = Vec::new();
    file.take(footer.min(32)).read_to_end(&mut head)?;
    let mut head = head.into_iter();
    let mut elements = || {
        let version = head.next()? == 0x15;
        varint(&mut head)?;
        let schema = head.next()? == 0x19;
        let list = head.next()?;
        let structs = list & 0x0f == 0x0c;
        let length = if list >> 4 == 15 { varint(&mut head)? } else { u64::from(list >> 4) };
        (version && schema && structs).then_some(length)
    };
    Ok(elements())
}

fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn classes(path: &Path, metadata: &ParquetMetaData) -> Result<Vec<(String, Vec<String>)>> {
    let all = metadata.file_metadata().key_value_metadata();
    let own = all.into_iter().flatten().find(|pair| pair.key == "huggingface");
    let Some(text) = own.and_then(|pair| pair.value.as_deref()) else { return Ok(Vec::new()) };
    columns::class_names(text)
        .map_err(|e| Error::format(path, FORMAT, format!("its metadata `huggingface` is not JSON: {e}")))
}

/// Rows of a group. Their number is only a claim of the footer: it is held against the file's length, so that
/// a few bytes cannot ask for much memory.
fn rows(input: &Input, group: &RowGroupMetaData, before: usize) -> Result<usize> {
    let rows = usize::try_from(group.num_rows()).ok();
    let all = rows.and_then(|rows| before.checked_add(rows)).filter(|&all| all as u64 <= input.length());
    rows.filter(|&rows| all.is_some() && u32::try_from(rows).is_ok()).ok_or_else(|| {
        let (rows, length) = (group.num_rows(), input.length());
        let reason = format!("a row group says that it has {rows} rows, in a file of {length} bytes");
        Error::format(input.path(), FORMAT, reason)
    })
}

/// The name of a compression that this build does not read.
fn unread_codec(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("lzo"),
        _ => None,
    }
}

fn chunk(
    input: &Arc<Input>,
    metadata: &ParquetMetaData,
    group: usize,
    leaf: &Leaf,
    rows: usize,
    first_row: usize,
) -> Result<Chunk> {
    let columns = metadata.row_group(group).columns();
    let column = columns.get(leaf.index).ok_or_else(|| {
        let reason = format!("row group {group} has {} columns, `{}` is not there", columns.len(), leaf.name);
        Error::format(input.path(), FORMAT, reason)
    })?;
    if column.file_path().is_some_and(|path| !path.is_empty()) {
        let reason = format!("column `{}` is in another file, which is not supported", leaf.name);
        return Err(Error::format(input.path(), FORMAT, reason));
    }
    if let Some(codec) = unread_codec(column.compression()) {
        let (name, file) = (&leaf.name, input.path().file_name().unwrap_or_default().to_string_lossy());
        let reason = format!(
            "column `{name}` is compressed by {codec}; what is read is snappy, gzip, zstd, lz4 or not compressed. Write \
             it again, in Python: pyarrow.parquet.write_table(pyarrow.parquet.read_table('{file}'), 'new.parquet', \
             compression='zstd')"
        );
        return Err(Error::format(input.path(), FORMAT, reason));
    }
    let pages = metadata.page_index_for_row_group(group).page_locations(leaf.index).cloned();
    Chunk::new(input.clone(), column.clone(), rows, first_row, pages)
}
