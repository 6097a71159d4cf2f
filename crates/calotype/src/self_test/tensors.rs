//! Arrays as tensors in double precision, and back.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::arrays::Array;
use crate::error::{Error, Result};

/// An array of D axes.
///
/// # Errors
/// `Error::Shape` for another number of axes.
pub fn tensor<const D: usize>(array: &Array) -> Result<Tensor<D>> {
    let shape: [usize; D] = array.shape.clone().try_into().map_err(|shape: Vec<usize>| {
        Error::shape("array of a case", format!("{D} axes"), format!("{shape:?}"))
    })?;
    Ok(Tensor::from_data(TensorData::new(array.values.clone(), shape), (&Device::flex(), DType::F64)))
}

/// Independent numbers, one sample each: `[n, 1, 1, 1]`.
pub fn samples(values: &[f64]) -> Tensor<4> {
    row(values, [values.len(), 1, 1, 1])
}

/// Numbers in a shape of their own.
///
/// # Panics
/// Unless the shape has that many numbers.
pub fn row<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), DType::F64))
}

/// The numbers of a tensor.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// The only number of a tensor.
pub fn scalar(x: Tensor<1>) -> f64 {
    values(x)[0]
}

/// A tensor of any shape as an array.
pub fn array<const D: usize>(x: Tensor<D>) -> Array {
    Array { shape: x.dims().to_vec(), values: values(x) }
}
