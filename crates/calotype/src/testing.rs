//! What unit tests share: folders that go away, a web server, refusals, and tensors in double precision.

pub mod gguf_file;
mod temp_dir;
pub mod web_server;

use std::fmt::Display;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};

pub use temp_dir::TempDir;

/// Independent numbers, one sample each: `[n, 1, 1, 1]`.
pub fn samples(values: &[f64]) -> Tensor<4> {
    shaped(values, [values.len(), 1, 1, 1])
}

/// Numbers in a shape of their own.
pub fn shaped<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), DType::F64))
}

/// The numbers of a tensor.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// The folder of published files that are not in the repository. Tests that ask for it are ignored.
pub fn test_data() -> PathBuf {
    std::env::var_os("CALOTYPE_TEST_DATA").expect("CALOTYPE_TEST_DATA, see CONTRIBUTING.md").into()
}

/// Asserts that something is refused, and how the message begins: with the thing, and with what was expected of it.
#[track_caller]
pub fn assert_refuses<T, E: Display>(found: Result<T, E>, beginning: &str) {
    match found.map_err(|error| error.to_string()) {
        Ok(_) => panic!("not refused: `{beginning}`"),
        Err(message) => assert!(message.starts_with(beginning), "expected `{beginning}`, got `{message}`"),
    }
}
