//! Weight files of `torch.save`: `.pth`, `.pt`, `.bin`. Nothing in them is executed.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Bytes;
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::Dtype;

use super::numbers::{numbers, to_f32};
use crate::error::{Error, Result};
use crate::files::{Storage, StoredTensor};

const FORMAT: &str = "PyTorch weights";

/// Bytes of all tensors for each byte of the file, at most: several names may share one tensor.
const MOST_EXPANSION: u64 = 4;

/// Names of callables that may stand in a file beside its tensors, without effect here: settings that trainers
/// saved with their weights. Anything else is a file that wants to run something.
const HARMLESS: [&str; 12] = [
    "torch.",
    "numpy.",
    "collections.",
    "_codecs.",
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "omegaconf.",
    "typing.",
    "datetime.",
    "pathlib.",
    "argparse.",
];

/// The tensors of a state dict; those under `state_dict` keep the names inside of it. f64 and integers are
/// converted to f32.
///
/// # Errors
/// `Error::Io` if there is no such file; `Error::Format` for one that is truncated, not of `torch.save`, has a
/// dtype that is no number, or wants to call something that weights have no use for (it is not called).
pub fn open(path: &Path) -> Result<HashMap<String, StoredTensor>> {
    std::fs::metadata(path).map_err(Error::io("read", path))?;
    let failed = |e: pytorch_reader::PytorchError| Error::format(path, FORMAT, e);
    let contents = PytorchReader::read_pickle_data(path, None).map_err(failed)?;
    if let Some(callable) = foreign(&contents) {
        let reason =
            format!("it wants to call `{callable}`, which weights have no use for; nothing was called");
        return Err(Error::format(path, FORMAT, reason));
    }
    let reader = PytorchReader::new(path).map_err(failed)?;
    refuse_expansion(path, reader.tensors().values().map(|tensor| tensor.byte_len() as u64))?;
    let tensors = reader.into_tensors().into_iter();
    tensors
        .map(|(name, tensor)| {
            let name = name.strip_prefix("state_dict.").unwrap_or(&name).to_owned();
            let bytes = tensor.read().map_err(|e| Error::format(path, FORMAT, e))?;
            let (shape, dtype) = (tensor.shape().to_vec(), tensor.dtype());
            let stored = stored(shape, dtype, &bytes)
                .ok_or_else(|| Error::format(path, FORMAT, format!("tensor `{name}` has dtype {dtype:?}")))?;
            Ok((name, stored))
        })
        .collect()
}

/// Refuses a small file that stands for much memory: a stride of 0 repeats one number without end.
fn refuse_expansion(path: &Path, sizes: impl Iterator<Item = u64>) -> Result<()> {
    let asked = sizes.fold(0_u64, u64::saturating_add);
    let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if asked <= length.saturating_mul(MOST_EXPANSION) {
        Ok(())
    } else {
        let reason = format!("its tensors have {asked} bytes, the file has {length}");
        Err(Error::format(path, FORMAT, reason))
    }
}

/// The first callable of a file that is not [`HARMLESS`].
fn foreign(value: &PickleValue) -> Option<&str> {
    match value {
        PickleValue::List(items) => items.iter().find_map(foreign),
        PickleValue::Dict(items) => items.values().find_map(foreign),
        PickleValue::Unsupported(name) => {
            let known = HARMLESS.iter().any(|module| name.starts_with(module)) || !name.contains('.');
            (!known).then_some(name)
        }
        _ => None,
    }
}

fn stored(shape: Vec<usize>, dtype: DType, bytes: &[u8]) -> Option<StoredTensor> {
    let in_f32 = |dtype| StoredTensor::from_f32(shape.clone(), to_f32(dtype, bytes)?);
    // Bytes of a vector are aligned for nothing; numbers are.
    match dtype {
        DType::F16 => {
            let bytes = Bytes::from_elems(numbers(bytes, u16::from_le_bytes));
            StoredTensor::new(shape, Storage::F16, bytes)
        }
        DType::BF16 => {
            let bytes = Bytes::from_elems(numbers(bytes, u16::from_le_bytes));
            StoredTensor::new(shape, Storage::Bf16, bytes)
        }
        DType::F32 => in_f32(Dtype::F32),
        DType::F64 => in_f32(Dtype::F64),
        DType::I64 => in_f32(Dtype::I64),
        DType::I32 => in_f32(Dtype::I32),
        DType::U8 => in_f32(Dtype::U8),
        _ => None,
    }
}
