//! Captions from the text members of a sample.

use serde_json::Value;

use crate::data::json;
use crate::data::text::in_utf8;

/// The keys of a JSON object that hold captions.
const KEYS: [&str; 4] = ["caption", "text", "captions", "texts"];

/// A text in UTF-8, or in UTF-16 with its mark; what is wrong if it is neither.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(in_utf8(&bytes).into_owned())
        .map_err(|error| format!("not UTF-8: {}", error.utf8_error()))
}

/// One caption a line; empty lines are none.
pub(super) fn of_lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Those of a JSON object; `null` and empty ones are none. JSON that is no object has none.
pub(super) fn of_json(text: &str) -> Result<Vec<String>, String> {
    let json: Value = json::parse(text.as_bytes()).map_err(|error| format!("not JSON: {error}"))?;
    let mut captions = Vec::new();
    for key in KEYS {
        let values = match json.get(key) {
            None => continue,
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for value in values {
            match value {
                Value::Null => {}
                Value::String(caption) if caption.trim().is_empty() => {}
                Value::String(caption) => captions.push(caption.trim().to_owned()),
                other => {
                    return Err(format!("`{key}`: expected a string or a list of strings, got `{other}`"));
                }
            }
        }
    }
    Ok(captions)
}

/// The name of a class; `None` if it is an integer or empty.
pub(super) fn class_name(text: &str) -> Option<String> {
    let name = text.trim();
    let digits = name.strip_prefix('-').unwrap_or(name);
    (!digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.to_owned())
}
