//! Which rows of a row group can be used, and their captions.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use std::borrow::Cow;

use ::parquet::data_type::{ByteArray, DataType};

use super::chunk::{Chunk, Records};
use super::footer::{Group, GroupText};
use crate::data::collection::{CaptionNeed, FaultKind};
use crate::error::Result;

/// Rows that are decoded at once.
const BATCH: usize = 1024;

/// What a row has.
pub(super) enum Found {
    /// A picture and its captions.
    Captions(Vec<String>),
    /// Not all that is needed: why.
    Fault(FaultKind, Cow<'static, str>),
}

impl Found {
    /// Of a row without a caption.
    fn without_caption(need: CaptionNeed, reason: &'static str) -> Self {
        match need {
            CaptionNeed::Required => Found::Fault(FaultKind::Caption, reason.into()),
            CaptionNeed::Optional => Found::Captions(Vec::new()),
        }
    }
}

/// One [`Found`] for each row of `group`. A row without a caption can be used where captions are not needed; one whose
/// caption cannot be read, in no case.
pub(super) fn read(group: &Group, need: CaptionNeed) -> Result<Vec<Found>> {
    let rows = group.picture.rows();
    let mut found = match &group.text {
        GroupText::None => (0..rows).map(|_| Found::Captions(Vec::new())).collect(),
        GroupText::Strings(chunk) => strings(chunk, need)?,
        GroupText::Classes(chunk, names) => classes(chunk, names, need)?,
    };
    // Only where the footer does not promise that all pictures are there: it needs a pass over them.
    if !group.picture.complete() {
        for (found, missing) in found.iter_mut().zip(missing_pictures(&group.picture)?) {
            if let Some(reason) = missing {
                *found = Found::Fault(FaultKind::Missing, reason.into());
            }
        }
    }
    Ok(found)
}

fn strings(chunk: &Chunk, need: CaptionNeed) -> Result<Vec<Found>> {
    let ColumnReader::ByteArrayColumnReader(reader) = chunk.reader()? else {
        return Err(chunk.fault(0, "captions are not strings"));
    };
    let mut found = Vec::new();
    each_row(chunk, reader, |_, values: &[Option<ByteArray>]| {
        let texts = values.iter().flatten().map(|value| std::str::from_utf8(value.data()));
        found.push(match texts.collect::<std::result::Result<Vec<&str>, _>>() {
            Ok(texts) => {
                let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
                let texts: Vec<String> = texts.map(str::to_owned).collect();
                if texts.is_empty() {
                    Found::without_caption(need, "no caption")
                } else {
                    Found::Captions(texts)
                }
            }
            Err(e) => Found::Fault(FaultKind::Caption, format!("a caption is not UTF-8: {e}").into()),
        });
        Ok(())
    })?;
    Ok(found)
}

fn classes(chunk: &Chunk, names: &[String], need: CaptionNeed) -> Result<Vec<Found>> {
    let ColumnReader::Int64ColumnReader(reader) = chunk.reader()? else {
        return Err(chunk.fault(0, "classes are not int64"));
    };
    let mut found = Vec::new();
    each_row(chunk, reader, |row, values: &[Option<i64>]| {
        found.push(match values {
            // datasets writes -1 where the class is not told, as test sets do.
            [None | Some(-1)] => Found::without_caption(need, "no class"),
            [Some(class)] => {
                let name = usize::try_from(*class).ok().and_then(|class| names.get(class));
                match name.filter(|name| !name.trim().is_empty()) {
                    Some(name) => Found::Captions(vec![name.clone()]),
                    None => {
                        let reason = format!("class {class} has no name among the {} classes", names.len());
                        Found::Fault(FaultKind::Caption, reason.into())
                    }
                }
            }
            _ => return Err(chunk.fault(row, format!("expected one class, got {}", values.len()))),
        });
        Ok(())
    })?;
    Ok(found)
}

/// Why each row has no picture, if it has none.
fn missing_pictures(chunk: &Chunk) -> Result<Vec<Option<&'static str>>> {
    let ColumnReader::ByteArrayColumnReader(mut reader) = chunk.reader()? else {
        return Err(chunk.fault(0, "pictures are not bytes"));
    };
    let present = chunk.present();
    let mut missing = Vec::new();
    loop {
        // Fewer rows at once than of captions: the values are whole pictures.
        let records = chunk.read(&mut reader, 16)?;
        if records.rows == 0 || missing.len() > chunk.rows() {
            break;
        }
        missing.extend(records.definitions.iter().map(|&level| match level {
            _ if level == present => None,
            // The struct is there and its bytes are not.
            _ if level > 0 => Some("the picture has no bytes in the file, at most a path"),
            _ => Some("no picture"),
        }));
    }
    if missing.len() != chunk.rows() {
        return Err(chunk.wrong_length(missing.len()));
    }
    Ok(missing)
}

/// Calls `take(row, values)` for each row of `chunk`; a list has any number of values, and a missing one (or
/// an empty list) is `None`.
fn each_row<T: DataType>(
    chunk: &Chunk,
    mut reader: ColumnReaderImpl<T>,
    mut take: impl FnMut(usize, &[Option<T::T>]) -> Result<()>,
) -> Result<()> {
    let present = chunk.present();
    let mut row = 0;
    loop {
        let records = chunk.read(&mut reader, BATCH)?;
        if records.rows == 0 {
            break;
        }
        if row + records.rows > chunk.rows() {
            return Err(chunk.wrong_length(row + records.rows));
        }
        let Records { values, definitions, repetitions, .. } = records;
        // Columns without levels have one value for each row.
        let places = definitions.len().max(values.len());
        let mut values = values.into_iter();
        let mut of_row = Vec::new();
        for place in 0..places {
            let there = definitions.get(place).is_none_or(|&definition| definition == present);
            of_row.push(if there { values.next() } else { None });
            if place + 1 == places || repetitions.get(place + 1).is_none_or(|&repetition| repetition == 0) {
                take(row, &of_row)?;
                of_row.clear();
                row += 1;
            }
        }
    }
    if row != chunk.rows() {
        return Err(chunk.wrong_length(row));
    }
    Ok(())
}
