//! Tensors that are the same in every run.

use burn::tensor::{Device, Tensor, TensorData};

/// Numbers in ±1 that differ for every tensor.
pub fn numbers<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n as u32)
        .map(|i| {
            let x = (i ^ seed.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
            let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
            (x >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

pub fn leaf<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    numbers(shape, seed).autodiff().require_grad()
}
