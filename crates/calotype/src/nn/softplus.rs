//! ln(1 + eˣ).

use burn::tensor::Tensor;

/// ln(1 + eˣ), without overflow. Its gradient is that of the formula but for x = 0 exactly, where it is 1 in place of ½.
pub fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_min(0.0) + (-x.abs()).exp().log1p()
}
