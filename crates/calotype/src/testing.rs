//! What unit tests share: folders that go away, a web server, and tensors of numbers in double precision.

mod temp_dir;
pub mod web_server;

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
