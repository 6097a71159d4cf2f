//! `metadata.jsonl`: a line for each picture, with `file_name`, and `text` or `caption`.
//!
//! Each line is an object; its caption is a string, or a list of strings. If a line has both, `text` counts.
//! Other keys are free, also `NaN` as Python writes it.

use std::path::Path;

use serde_json::{Map, Value};

use super::named::{Named, Row, captions, file_name};
use super::without_bom;
use crate::data::json;
use crate::error::{Error, Result};

const FORMAT: &str = "JSON lines";

/// Parses `bytes`, the content of `path`.
///
/// # Errors
/// `Error::Format`, with the line's number, if a line is not an object or names no file in the folder.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Named> {
    let rows = (1..)
        .zip(without_bom(bytes).split(|&byte| byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| {
            row(number, line)
                .map_err(|reason| Error::format(path, FORMAT, format!("line {number}: {reason}")))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Named { path: path.to_owned(), format: FORMAT, rows })
}

fn row(line: usize, text: &[u8]) -> std::result::Result<Row, String> {
    let object: Map<String, Value> = json::parse(text).map_err(|e| not_json(&e))?;
    let name = match object.get("file_name") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(format!("`file_name`: expected a string, got `{other}`")),
        None => return Err("`file_name`: missing".into()),
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
