//! Double-precision tensors for tests.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// `[n, 1, 1, 1]`.
pub(crate) fn tensor(values: &[f64]) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

/// The values of a tensor, row by row.
pub(crate) fn values(x: Tensor<4>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}
