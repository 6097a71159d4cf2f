//! Weight files of either kind, told apart by their ending.

use std::collections::HashMap;
use std::path::Path;

use super::{pytorch_pickle, safetensors_io};
use crate::error::Result;
use crate::nn::parameters::NamedTensor;

/// Every tensor as f32: of `torch.save` for `.pth`, `.pt`, `.bin` and `.ckpt`, of safetensors otherwise.
///
/// # Errors
/// As [`pytorch_pickle::read`] and [`safetensors_io::read`].
pub fn read(path: &Path) -> Result<HashMap<String, NamedTensor>> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ["pth", "pt", "bin", "ckpt"].contains(&extension) {
        true => pytorch_pickle::read(path),
        false => safetensors_io::read(path),
    }
}

/// Numbers of `N` bytes each, in the order of the file; a rest of fewer bytes is left over.
pub(super) fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    // chunks_exact gives slices of exactly N bytes.
    bytes.chunks_exact(N).map(|chunk| number(chunk.try_into().expect("N bytes"))).collect()
}
