//! Values of a GGUF file's metadata.

use super::reader::Reader;
use crate::files::fault::{Fault, Result};

/// Types of values by ggml's number.
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes of a text; longer ones, such as templates of chats, are passed by.
const LONGEST_TEXT: usize = 1 << 16;

/// The value of `key` as text; `None` for a list or a long text.
pub(super) fn value(reader: &mut Reader, key: &str) -> Result<Option<String>> {
    let kind = reader.u32(key)?;
    if kind == STRING {
        let text = reader.text(key)?;
        return Ok((text.len() <= LONGEST_TEXT).then(|| text.to_owned()));
    }
    if kind == ARRAY {
        return skip_list(reader, key).map(|()| None);
    }
    let bytes = reader.bytes(size(kind, key)?, key)?;
    Ok(Some(number(kind, bytes)))
}

fn skip_list(reader: &mut Reader, key: &str) -> Result<()> {
    let kind = reader.u32(key)?;
    let count = reader.u64(key)?;
    if kind == STRING {
        // Each takes eight bytes at least, so that a count that lies ends with the file.
        return (0..count).try_for_each(|_| reader.text(key).map(|_| ()));
    }
    let size = count.checked_mul(size(kind, key)?).ok_or_else(|| Fault::cut_off(key))?;
    reader.bytes(size, key).map(|_| ())
}

/// Bytes of a number or truth value.
fn size(kind: u32, key: &str) -> Result<u64> {
    Ok(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        ARRAY => return Err(Fault::unread(format!("`{key}` is a list of lists, which is not read"))),
        other => return Err(Fault::damaged(format!("`{key}` is of type {other}, which is none"))),
    })
}

/// `bytes` are as many as [`size`] says.
fn number(kind: u32, bytes: &[u8]) -> String {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(word);
    match kind {
        1 => (unsigned as i8).to_string(),
        3 => (unsigned as i16).to_string(),
        5 => (unsigned as i32).to_string(),
        6 => f32::from_bits(unsigned as u32).to_string(),
        7 => (unsigned != 0).to_string(),
        11 => (unsigned as i64).to_string(),
        12 => f64::from_bits(unsigned).to_string(),
        _ => unsigned.to_string(),
    }
}
