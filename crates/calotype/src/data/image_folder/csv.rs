//! `metadata.csv`: a table with the columns `file_name`, and `text` or `caption`.
//!
//! Its first line is a header, and commas separate. If it has both, `text` counts. Several rows about one
//! file are several captions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::named::{Named, Row, captions, file_name};
use crate::data::collection::{CaptionNeed, Fault, FaultKind, Faults};
use crate::data::text::in_utf8;
use crate::error::{Error, Result};

const FORMAT: &str = "CSV";
/// Put behind the table. A quote that is never closed swallows it, and so is noticed: the parser by
/// itself would take the rest of the file for one field.
const END: &str = "end of the table";

/// Parses `bytes`, the content of `path`.
///
/// # Errors
/// `Error::Format`, with the line's number, if a column is missing (that of the captions only if they are
/// required), a row is longer or shorter than the header, not UTF-8, or names no file in the folder.
pub(super) fn read(path: &Path, bytes: &[u8], need: CaptionNeed, faults: &mut Faults) -> Result<Named> {
    let refuse = |reason: String| Error::format(path, FORMAT, reason);
    let text = in_utf8(bytes);
    let mut records = records(&text, faults).map_err(refuse)?.into_iter();
    // What is no text was replaced to find the rows that have it.
    let replaced = std::str::from_utf8(&text).is_err();
    let (_, header) = records.next().unwrap_or_default();
    let columns = Columns::of(&header, need).map_err(refuse)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of = HashMap::new();
    for (line, record) in records {
        let row = match columns.row(line, &record, replaced) {
            Ok(row) => row,
            Err((kind, reason)) => {
                let file = path.display().to_string();
                faults.take(Fault { kind, file, line: Some(line), reason }, FORMAT)?;
                continue;
            }
        };
        match row_of.get(&row.file) {
            Some(&before) => add_captions(&mut rows[before], row),
            None => {
                row_of.insert(row.file.clone(), rows.len());
                rows.push(row);
            }
        }
    }
    Ok(Named { path: path.to_owned(), format: FORMAT, rows })
}

fn add_captions(row: &mut Row, other: Row) {
    match (&mut row.captions, other.captions) {
        (Ok(captions), Ok(more)) => captions.extend(more),
        (fault @ Err(_), more @ Ok(_)) => *fault = more,
        (_, Err(_)) => {}
    }
}

/// Every record with the number of the line that it begins in.
fn records(bytes: &[u8], faults: &Faults) -> std::result::Result<Vec<(usize, StringRecord)>, String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // The rows with what is no text are left out one by one.
        Err(_) if faults.are_listed() => String::from_utf8_lossy(bytes),
        Err(e) => {
            return Err(format!("line {}: it is not UTF-8", 1 + line_breaks(&bytes[..e.valid_up_to()])));
        }
    };
    let text = format!("{text}\n{END}");
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut records, mut line, mut counted) = (Vec::new(), 1, 0);
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        // The reader's position is that before the blank lines which it skips.
        let position = record.position().map_or(counted, |position| position.byte() as usize);
        let blank = text[position..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += line_breaks(&text.as_bytes()[counted..position + blank]);
        counted = position + blank;
        records.push((line, record));
    }
    match records.pop() {
        Some((_, last)) if last.iter().eq([END]) => Ok(records),
        Some((line, _)) => Err(format!("line {line}: a quote is not closed")),
        None => Ok(records),
    }
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// Where the header says that things stand.
struct Columns {
    count: usize,
    file_name: usize,
    caption: Option<(&'static str, usize)>,
}

impl Columns {
    fn of(header: &StringRecord, need: CaptionNeed) -> std::result::Result<Self, String> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let find = |name: &str| names.iter().position(|&one| one == name);
        let missing = |name| format!("header: expected a column {name}, got `{}`", names.join("`, `"));
        let file_name = find("file_name").ok_or_else(|| missing("`file_name`"))?;
        let caption = ["text", "caption"].into_iter().find_map(|name| Some((name, find(name)?)));
        if caption.is_none() && need == CaptionNeed::Required {
            return Err(missing("`text` or `caption`"));
        }
        Ok(Self { count: names.len(), file_name, caption })
    }

    fn row(
        &self,
        line: usize,
        record: &StringRecord,
        replaced: bool,
    ) -> std::result::Result<Row, (FaultKind, String)> {
        if record.len() != self.count {
            let reason = format!("expected {} fields as in the header, got {}", self.count, record.len());
            return Err((FaultKind::Metadata, reason));
        }
        if replaced && record.iter().any(|field| field.contains(char::REPLACEMENT_CHARACTER)) {
            return Err((FaultKind::Caption, "it has bytes that are not UTF-8".into()));
        }
        let file = file_name(&record[self.file_name])?;
        let captions = match self.caption {
            Some((name, column)) => captions([&record[column]], name, &file),
            None => Err("the header has no captions".into()),
        };
        Ok(Row { line, file, captions })
    }
}
