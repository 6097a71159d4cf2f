//! A GGUF file of version 3: header, then the tensors one after the other, each in pieces.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::header::ALIGNMENT;
use crate::error::{Error, Result};
use crate::files::content::GGUF;
use crate::files::{Stack, atomic};

const FORMAT: &str = "GGUF";
const VERSION: u32 = 3;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// ggml's `uint32`.
    U32(u32),
    /// `float32`.
    F32(f32),
    /// `string`.
    Text(String),
}

impl Value {
    /// ggml's number of the type, then the value.
    fn bytes(&self) -> Vec<u8> {
        let (kind, value): (u32, Vec<u8>) = match self {
            Self::U32(number) => (4, number.to_le_bytes().into()),
            Self::F32(number) => (6, number.to_le_bytes().into()),
            Self::Text(text) => (8, counted(text)),
        };
        [&kind.to_le_bytes()[..], &value].concat()
    }
}

/// A length and a text.
fn counted(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Writes a file whole or not at all, a few rows at a time: it takes no more memory for larger ones.
///
/// # Errors
/// `Error::Io`; `Error::Format` for rows that are no whole number of blocks; those of the tensors' numbers.
pub fn write(path: &Path, metadata: &[(String, Value)], stacks: &[Stack]) -> Result<()> {
    let header = header(metadata, stacks).map_err(|reason| Error::format(path, FORMAT, reason))?;
    atomic::write_with(path, |temporary| {
        let mut file = File::create(temporary).map_err(Error::io("write", temporary))?;
        let mut length = 0;
        let mut put = |bytes: &[u8]| {
            length += bytes.len();
            file.write_all(bytes).map_err(Error::io("write", temporary))
        };
        put(&header)?;
        stacks.iter().try_for_each(|stack| {
            let mut written = 0;
            stack.write(|bytes| {
                written += bytes.len();
                put(bytes)
            })?;
            put(&vec![0; written.next_multiple_of(ALIGNMENT) - written])
        })
    })
}

/// All that comes before the numbers. Text: the tensor that does not fit its type.
fn header(metadata: &[(String, Value)], stacks: &[Stack]) -> std::result::Result<Vec<u8>, String> {
    let mut header = [GGUF, &VERSION.to_le_bytes()].concat();
    header.extend((stacks.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        header.extend(counted(key));
        header.extend(value.bytes());
    }
    let mut offset = 0_usize;
    for Stack { name, shape, kind, .. } in stacks {
        let misfit = || format!("tensor `{name}` of shape {shape:?} cannot be stored in {kind}");
        header.extend(counted(name));
        header.extend((shape.len() as u32).to_le_bytes());
        header.extend(shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes()));
        header.extend(kind.id().to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        let end = kind.size(shape).and_then(|size| offset.checked_add(size)).ok_or_else(misfit)?;
        offset = end.checked_next_multiple_of(ALIGNMENT).ok_or_else(misfit)?;
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    Ok(header)
}
