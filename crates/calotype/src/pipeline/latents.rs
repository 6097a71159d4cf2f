//! Latents in files: unit noise to start from, scaled latents at the end.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::files::{NamedTensor, safetensors};

/// What the tensor is called.
const NAME: &str = "latents";

/// Writes the tensor `latents`.
///
/// # Errors
/// `Error::Io`.
pub fn write(path: &Path, latents: &Tensor<4>) -> Result<()> {
    let shape = latents.dims().to_vec();
    let values = latents.to_data().iter::<f32>().collect();
    safetensors::write(path, &[NamedTensor { name: NAME.into(), shape, values }])
}

/// Reads the tensor `latents`, which must have this shape.
///
/// # Errors
/// `Error::Format` where the file has none or a number in it is not finite, `Error::Shape` for another shape;
/// `Error::Io`.
pub fn read(path: &Path, expected: [usize; 4], device: &Device) -> Result<Tensor<4>> {
    let mut tensors = safetensors::read(path)?;
    let latents = tensors
        .remove(NAME)
        .ok_or_else(|| Error::format(path, "safetensors", format!("it has no tensor named `{NAME}`")))?;
    if latents.shape != expected {
        let what = format!("`{NAME}` of {}", path.display());
        return Err(Error::shape(what, format!("{expected:?}"), format!("{:?}", latents.shape)));
    }
    if let Some(bad) = latents.values.iter().find(|value| !value.is_finite()) {
        let reason = format!("`{NAME}`: expected finite numbers, got {bad}");
        return Err(Error::format(path, "safetensors", reason));
    }
    Ok(Tensor::from_data(TensorData::new(latents.values, expected), device))
}
