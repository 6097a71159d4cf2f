//! `metadata.jsonl`: a line for each picture, with `file_name`, and `text` or `caption`.
//!
//! Each line is an object; its caption is a string, or a list of strings. If a line has both, `text` counts.
//! Other keys are free, also `NaN` as Python writes it. One list of such objects is read too.

use std::path::Path;

use serde_json::{Map, Value};

use super::named::{Named, Row, captions, file_name};
use crate::data::collection::{Fault, FaultKind, Faults};
use crate::data::json;
use crate::data::text::in_utf8;
use crate::error::Result;

const FORMAT: &str = "JSON lines";

/// Parses `bytes`, the content of `path`.
///
/// # Errors
/// `Error::Format`, with the line's number, if a line is not an object or names no file in the folder, unless faults
/// are listed.
pub(super) fn read(path: &Path, bytes: &[u8], faults: &mut Faults) -> Result<Named> {
    let bytes = in_utf8(bytes);
    let is_list = bytes.trim_ascii_start().starts_with(b"[");
    let parts = if is_list { elements(&bytes) } else { lines(&bytes) };
    let mut rows = Vec::with_capacity(parts.len());
    for (line, part) in parts {
        match row(line, part) {
            Ok(row) => rows.push(row),
            Err((kind, reason)) => {
                let file = path.display().to_string();
                faults.take(Fault { kind, file, line: Some(line), reason }, FORMAT)?;
            }
        }
    }
    Ok(Named { path: path.to_owned(), format: FORMAT, rows })
}

/// Lines that are not empty, with their numbers.
fn lines(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    (1..).zip(bytes.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty()).collect()
}

/// The elements of a JSON list, each with the number of the line that it begins in; and what follows the list, or is
/// not closed, for the parser to refuse.
fn elements(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut found = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut line, mut begin) = (1, None);
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' {
            line += 1;
        }
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        let ends = depth == 1 && matches!(byte, b',' | b']');
        if let Some((line, from)) = begin.filter(|_| ends) {
            found.push((line, &bytes[from..at]));
            begin = None;
        }
        let outside = depth == 0 && byte == b'[' && found.is_empty();
        if begin.is_none() && !ends && !outside && !byte.is_ascii_whitespace() {
            begin = Some((line, at));
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if let Some((line, from)) = begin {
        found.push((line, &bytes[from..]));
    }
    if depth == 1 && !in_string {
        found.push((line, &bytes[bytes.len()..])); // the list itself is not closed
    }
    found
}

fn row(line: usize, text: &[u8]) -> std::result::Result<Row, (FaultKind, String)> {
    let broken = |reason: String| (FaultKind::Metadata, reason);
    let object: Map<String, Value> = json::parse(text).map_err(|e| broken(not_json(&e)))?;
    let name = match object.get("file_name") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(broken(format!("`file_name`: expected a string, got `{other}`"))),
        None => return Err(broken("`file_name`: missing".into())),
    };
    let file = file_name(name)?;
    let captions = captions_of(&object, &file);
    Ok(Row { line, file, captions })
}

/// The parser's words. It counts from the line's own beginning, so that its `line 1` would mislead.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason} at column {}", error.column()),
        None => text,
    }
}

fn captions_of(object: &Map<String, Value>, file: &Path) -> std::result::Result<Vec<String>, String> {
    let said = ["text", "caption"].into_iter().find_map(|key| match object.get(key) {
        None | Some(Value::Null) => None,
        Some(value) => Some((key, value)),
    });
    let Some((key, value)) = said else {
        return Err(format!("`text`, the caption of `{}`: missing", file.display()));
    };
    let texts: Option<Vec<&str>> = match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(texts) => texts.iter().map(Value::as_str).collect(),
        _ => None,
    };
    match texts {
        Some(texts) => captions(texts, key, file),
        None => Err(format!("`{key}`: expected a string or a list of strings, got `{value}`")),
    }
}
