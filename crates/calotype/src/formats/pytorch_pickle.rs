//! Weight files of `torch.save`: `.pth`, `.pt`, `.bin`. Nothing in them is executed.

use std::collections::HashMap;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};

use super::weights::numbers;
use crate::error::{Error, Result};
use crate::nn::parameters::NamedTensor;

const FORMAT: &str = "PyTorch weights";

/// Reads every tensor of a state dict as f32; tensors under `state_dict` keep the names inside of it.
///
/// # Errors
/// `Error::Io` if there is no such file; `Error::Format` for one that is truncated, not of `torch.save`, or
/// has a dtype that is no number.
pub fn read(path: &Path) -> Result<HashMap<String, NamedTensor>> {
    std::fs::metadata(path).map_err(Error::io("read", path))?;
    let reader = PytorchReader::new(path).map_err(|e| Error::format(path, FORMAT, e))?;
    let tensors = reader.into_tensors().into_iter();
    tensors
        .map(|(name, tensor)| {
            let name = name.strip_prefix("state_dict.").unwrap_or(&name).to_owned();
            let bytes = tensor.read().map_err(|e| Error::format(path, FORMAT, e))?;
            let dtype = tensor.dtype();
            let values = to_f32(dtype, &bytes)
                .ok_or_else(|| Error::format(path, FORMAT, format!("tensor `{name}` has dtype {dtype:?}")))?;
            Ok((name.clone(), NamedTensor { name, shape: tensor.shape().to_vec(), values }))
        })
        .collect()
}

fn to_f32(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        DType::F32 => numbers(bytes, f32::from_le_bytes),
        DType::F64 => numbers(bytes, |b| f64::from_le_bytes(b) as f32),
        DType::F16 => numbers(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        DType::BF16 => numbers(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        DType::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f32),
        DType::I32 => numbers(bytes, |b| i32::from_le_bytes(b) as f32),
        DType::U8 => numbers(bytes, |[b]| f32::from(b)),
        _ => return None,
    })
}
