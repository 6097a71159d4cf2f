//! Weight files of `torch.save`: `.pth`, `.pt`, `.bin`, `.ckpt`. Nothing in them is executed.
//!
//! A pickle describes the saved object and refers to storages beside it. What it describes is looked at, never
//! made: [`value`] has what a pickle may contain, [`machine`] reads it, [`calls`] knows the few calls that stand for
//! tensors and containers, [`state_dict`] finds the weights among the rest, and [`container`] knows where their
//! numbers lie.

mod calls;
mod container;
mod machine;
mod state_dict;
mod tar;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use calotype_kernels::mapped::MappedFile;
use rayon::prelude::*;
use safetensors::Dtype;

use super::numbers::{self, size, to_f32};
use crate::error::{Cause, Error, Result};
use crate::files::{Storage, StoredTensor};
use container::{Contents, Needs, Storage as Numbers};
use value::{Fault, Tensor, Tensors};

const FORMAT: &str = "PyTorch weights";

/// Bytes of all tensors for each byte of the file, at most: several names may share one tensor.
const MOST_EXPANSION: usize = 4;

/// The tensors of a state dict, mapped into memory where their numbers lie one after the other in the file
/// ([`MappedFile::open`] says what that asks of it). Where a trainer has wrapped them with the rest of its state
/// (`state_dict`, `model`), those alone, under the names inside of it. f64, integers and bools are converted to f32.
///
/// # Errors
/// `Error::Io` if there is no such file; `Error::Format` for one that is truncated, not of `torch.save`, has numbers
/// of another kind, or wants to call something that weights have no use for (it is not called).
pub fn open(path: &Path) -> Result<HashMap<String, StoredTensor>> {
    let file = MappedFile::open(path).map_err(Error::io("read", path))?;
    read(&file).map_err(|fault| fault.error(path, FORMAT))
}

fn read(file: &MappedFile) -> value::Result<HashMap<String, StoredTensor>> {
    let Contents { tensors, storages } = container::contents(file, |tensors| needs(tensors, file.len()))?;
    let damaged = storages.par_iter().find_map_first(|(key, numbers)| check(file, key, numbers).err());
    damaged.map_or(Ok(()), Err)?;
    let read = |(name, tensor): (String, Tensor)| {
        let numbers = storages.get(&tensor.storage);
        let numbers = numbers.ok_or_else(|| Fault::damaged(format!("tensor `{name}` has no storage")))?;
        let (length, end) = (numbers.length(), place(&tensor).map_or(usize::MAX, |place| place.end));
        if end > length {
            let reason = format!("tensor `{name}` needs {end} bytes of its storage, which has {length}");
            return Err(Fault { cause: Some(Cause::CutOff), ..Fault::unread(reason) });
        }
        let misfit = || Fault::damaged(format!("tensor `{name}` does not fit its storage"));
        let stored = stored(file, numbers, &tensor).ok_or_else(misfit)?;
        Ok((name, stored))
    };
    tensors.into_iter().map(read).collect()
}

/// Bytes that are needed of each storage.
///
/// Refuses numbers of a type that is not read, before anything is unpacked or summed up for them; and a small file that
/// stands for much memory: a stride of 0 repeats one number without end.
fn needs(tensors: &Tensors, length: usize) -> value::Result<Needs> {
    let mut needs = Needs::new();
    let mut asked = 0_usize;
    for (name, tensor) in tensors {
        if !numbers::is_read(tensor.dtype) {
            let (reason, cause) = numbers::unread(name, tensor.dtype);
            return Err(Fault { reason, cause });
        }
        let size = size(tensor.dtype);
        let bytes = |numbers: Option<usize>| numbers.and_then(|n| n.checked_mul(size)).unwrap_or(usize::MAX);
        let need = needs.entry(tensor.storage.clone()).or_default();
        *need = bytes(tensor.reach()).max(*need);
        asked = asked.saturating_add(bytes(tensor.count()));
    }
    match asked.max(needs.values().fold(0, |sum, need| sum.saturating_add(*need))) {
        asked if asked <= length.saturating_mul(MOST_EXPANSION) => Ok(needs),
        asked => Err(Fault::damaged(format!("its tensors have {asked} bytes, the file has {length}"))),
    }
}

/// Refuses a storage that lies outside of the file, or whose bytes have another checksum than they should.
fn check(file: &[u8], key: &str, numbers: &Numbers) -> value::Result<()> {
    let Numbers::InFile(range, checksum) = numbers else { return Ok(()) };
    let bytes = file.get(range.clone()).ok_or_else(|| Fault::cut_off(format!("storage `{key}`")))?;
    match checksum {
        Some(checksum) if crc32fast::hash(bytes) != *checksum => {
            Err(Fault::damaged(format!("storage `{key}` has another checksum than it should")))
        }
        _ => Ok(()),
    }
}

/// The numbers of a tensor.
fn stored(file: &MappedFile, numbers: &Numbers, tensor: &Tensor) -> Option<StoredTensor> {
    let shape = tensor.shape.clone();
    let place = place(tensor)?;
    let window = match numbers {
        Numbers::InFile(range, _) => file.get(range.clone())?.get(place.clone())?,
        Numbers::InMemory(bytes) => bytes.get(place.clone())?,
    };
    let storage = match tensor.dtype {
        Dtype::F32 => Some(Storage::F32),
        Dtype::F16 => Some(Storage::F16),
        Dtype::BF16 => Some(Storage::Bf16),
        _ => None,
    };
    let storage = storage.filter(|_| cfg!(target_endian = "little"));
    if let (Some(storage), Numbers::InFile(range, _), true) = (storage, numbers, tensor.is_contiguous()) {
        let in_file = range.start + place.start..range.start + place.end;
        return StoredTensor::new(shape, storage, file.bytes(in_file, storage.size()));
    }
    let bytes = if tensor.is_contiguous() {
        Cow::Borrowed(window)
    } else {
        Cow::Owned(gather(window, tensor, size(tensor.dtype)))
    };
    match storage {
        Some(storage) => StoredTensor::copied(shape, storage, &bytes),
        None => StoredTensor::from_f32(shape, to_f32(tensor.dtype, &bytes)?),
    }
}

/// The bytes of the storage that a tensor looks at.
fn place(tensor: &Tensor) -> Option<Range<usize>> {
    let size = size(tensor.dtype);
    Some(tensor.offset.checked_mul(size)?..tensor.reach()?.checked_mul(size)?)
}

/// Numbers row by row of a tensor that steps through `window` in another order.
fn gather(window: &[u8], tensor: &Tensor, size: usize) -> Vec<u8> {
    let count = tensor.count().unwrap_or(0);
    let mut bytes = Vec::with_capacity(count * size);
    let mut place = vec![0; tensor.shape.len()];
    let mut at = 0_usize;
    for _ in 0..count {
        bytes.extend_from_slice(&window[at * size..][..size]);
        // The next place, the last axis first. The step of an axis of one place may be any number.
        for axis in (0..place.len()).rev() {
            let (sizes, step) = (tensor.shape[axis], tensor.stride[axis]);
            place[axis] += 1;
            at = at.wrapping_add(step);
            if place[axis] < sizes {
                break;
            }
            at = at.wrapping_sub(step.wrapping_mul(sizes));
            place[axis] = 0;
        }
    }
    bytes
}
