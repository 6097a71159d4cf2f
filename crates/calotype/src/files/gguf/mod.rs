//! GGUF: the files of ggml, llama.cpp and stable-diffusion.cpp, with quantised weights.
//!
//! [`header`] reads what stands before the numbers, [`block`] knows the kinds of blocks that these are packed in;
//! [`mod@write`] writes both.

mod block;
mod header;
mod iq4;
mod k_blocks;
mod metadata;
mod quantise_k;
mod quantise_small;
mod reader;
mod small_blocks;
mod tensor_type;
mod write;

use std::collections::HashMap;
use std::path::Path;

use calotype_kernels::mapped::MappedFile;

use crate::error::{Error, Result};
use crate::files::{Packing, StoredTensor};
pub use block::BlockKind;
use header::{Entry, Header};
pub use tensor_type::TensorType;
pub use write::{Value, write};

const FORMAT: &str = "GGUF";

/// The tensors of a file as they are stored, mapped into memory ([`MappedFile::open`] says what that asks of it), under
/// the file's own names and in PyTorch's order of dimensions. Blocks become f32 when their numbers are asked for.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a file that is truncated or contradicts itself, or has numbers of a kind that is not
/// read.
pub fn open(path: &Path) -> Result<HashMap<String, StoredTensor>> {
    let file = MappedFile::open(path).map_err(Error::io("read", path))?;
    let header = Header::read(&file).map_err(|fault| fault.error(path, FORMAT))?;
    let tensors = header.tensors.into_iter().map(|entry| {
        let tensor = stored(&file, &entry);
        let misfit =
            || Error::format(path, FORMAT, format!("tensor `{}` does not fit its bytes", entry.name));
        Ok((entry.name.clone(), tensor.ok_or_else(misfit)?.of_file(&file)))
    });
    tensors.collect()
}

fn stored(file: &MappedFile, Entry { shape, kind, place, .. }: &Entry) -> Option<StoredTensor> {
    match *kind {
        TensorType::Plain(storage) if cfg!(target_endian = "little") => {
            StoredTensor::new(shape.clone(), storage, file.bytes(place.clone(), storage.size()))
        }
        TensorType::Plain(storage) => {
            let size = storage.size();
            let turned = file[place.clone()].chunks(size).flat_map(|number| number.iter().rev().copied());
            StoredTensor::copied(shape.clone(), storage, &turned.collect::<Vec<u8>>())
        }
        TensorType::Blocks(block) => {
            StoredTensor::packed(shape.clone(), Packing::Blocks(block), file.bytes(place.clone(), 1))
        }
    }
}

/// Numbers, truth values and texts of the metadata, as text; lists and texts of more than 64 KiB are left out.
///
/// # Errors
/// As [`open`].
pub fn read_metadata(path: &Path) -> Result<HashMap<String, String>> {
    let file = MappedFile::open(path).map_err(Error::io("read", path))?;
    Ok(Header::read(&file).map_err(|fault| fault.error(path, FORMAT))?.metadata)
}

#[cfg(test)]
mod tests;
