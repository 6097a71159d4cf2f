//! Weight files: safetensors in f32.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::atomic;
use super::weights::numbers;
use crate::error::{Error, Result};
use crate::nn::parameters::NamedTensor;

/// Names of PyTorch's zero-dimensional parameters, which are `[1]` in memory.
const SCALARS: [&str; 1] = ["logit_scale"];

/// Reads every tensor as f32 (f16, bf16, f64 and integers are converted).
///
/// # Errors
/// `Error::Io`; `Error::Format` for a truncated or foreign file, or an unknown dtype.
pub fn read(path: &Path) -> Result<HashMap<String, NamedTensor>> {
    let bytes = atomic::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::format(path, "safetensors", e))?;
    file.iter()
        .map(|(name, view)| {
            let values = to_f32(view.dtype(), view.data()).ok_or_else(|| {
                Error::format(path, "safetensors", format!("tensor `{name}` has dtype {:?}", view.dtype()))
            })?;
            let tensor = NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), values };
            Ok((name.to_owned(), tensor))
        })
        .collect()
}

/// The string metadata of the header.
///
/// # Errors
/// As [`read`].
pub fn read_metadata(path: &Path) -> Result<HashMap<String, String>> {
    let bytes = atomic::read(path)?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|e| Error::format(path, "safetensors", e))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

fn to_f32(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => numbers(data, f32::from_le_bytes),
        Dtype::F64 => numbers(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => numbers(data, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => numbers(data, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::I64 => numbers(data, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => numbers(data, |b| i32::from_le_bytes(b) as f32),
        Dtype::U8 => numbers(data, |[b]| f32::from(b)),
        _ => return None,
    })
}

/// Writes tensors in f32 with `__metadata__ {"format": "pt"}`, whole or not at all.
///
/// # Errors
/// `Error::Io`; `Error::Format` if two tensors have one name.
pub fn write(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    write_with_metadata(path, tensors, HashMap::new())
}

/// [`write`] with more entries in the header.
///
/// # Errors
/// As [`write`].
pub fn write_with_metadata(
    path: &Path,
    tensors: &[NamedTensor],
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    metadata.insert("format".into(), "pt".into());
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(t, bytes)| {
            let shape = if SCALARS.contains(&t.name.as_str()) { vec![] } else { t.shape.clone() };
            let view = TensorView::new(Dtype::F32, shape, bytes)
                .map_err(|e| Error::format(path, "safetensors", e))?;
            Ok((t.name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let file =
        safetensors::serialize(views, Some(metadata)).map_err(|e| Error::format(path, "safetensors", e))?;
    atomic::write(path, &file)
}
