//! ln(1 + eˣ).

use burn::tensor::Tensor;

/// ln(1 + eˣ), without overflow.
pub fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_min(0.0) + (-x.abs()).exp().log1p()
}
