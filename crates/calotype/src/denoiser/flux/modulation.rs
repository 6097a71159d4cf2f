//! Adaptive layer normalisation: the condition shifts, scales and gates what a block does.
//!
//! Peebles & Xie 2023 (DiT), arXiv:2212.09748, section 3.2.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{add, layer_norm};

use crate::nn::{Init, Linear};

/// ε of the layer norms, which have no parameters of their own.
const EPSILON: f64 = 1e-6;

/// A linear map of the condition to `N` vectors of the network's width.
#[derive(Module, Debug)]
pub struct Modulation {
    linear: Linear,
}

impl Modulation {
    /// To `parts` vectors of `width` numbers.
    pub fn new(width: usize, parts: usize, init: &mut Init) -> Self {
        Self { linear: Linear::new(width, parts * width, true, init) }
    }

    /// `condition`: SiLU of the embedded condition, `[B, D]`. Returns `N` times `[B, D]`.
    pub fn forward<const N: usize>(&self, condition: &Tensor<2>) -> [Tensor<2>; N] {
        let parts = self.linear.forward(condition.clone());
        let width = parts.dims()[1] / N;
        std::array::from_fn(|i| parts.clone().narrow(1, i * width, width))
    }
}

/// LN(x)·(1 + scale) + shift: `x` `[B, L, D]`, `shift` and `scale` `[B, D]`, the same for all tokens of a sample.
pub fn modulated(x: Tensor<3>, shift: Tensor<2>, scale: Tensor<2>) -> Tensor<3> {
    let [b, _, d] = x.dims();
    let gain = scale + 1.0;
    let of_sample = |i: usize| {
        let [gain, shift] = [&gain, &shift].map(|part| part.clone().narrow(0, i, 1).reshape([d]));
        layer_norm(x.clone().narrow(0, i, 1), gain, shift, EPSILON)
    };
    match b {
        1 => of_sample(0),
        _ => Tensor::cat((0..b).map(of_sample).collect(), 0),
    }
}

/// x + gate·y: `x` and `y` `[B, L, D]`, `gate` `[B, D]`.
pub fn gated(x: Tensor<3>, gate: Tensor<2>, y: Tensor<3>) -> Tensor<3> {
    add(x, y * gate.unsqueeze_dim(1))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn numbers<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * step).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn each_sample_is_shifted_and_scaled_by_its_own() {
        let (x, shift, scale) = (numbers([3, 4, 8], 0.7), numbers([3, 8], 0.3), numbers([3, 8], 1.9));
        let (ones, zeros) = (Tensor::ones([8], &Device::flex()), Tensor::zeros([8], &Device::flex()));
        let normed = layer_norm(x.clone(), ones, zeros, EPSILON);
        let expected = normed * (scale.clone() + 1.0).unsqueeze_dim(1) + shift.clone().unsqueeze_dim(1);
        let got = modulated(x.clone(), shift.clone(), scale.clone());
        let largest: f32 = (got.clone() - expected).abs().max().into_scalar();
        assert!(largest < 1e-6, "differs by {largest}");
        // A batch changes nothing.
        let one = |x: Tensor<2>| x.narrow(0, 1, 1);
        let alone = modulated(x.narrow(0, 1, 1), one(shift), one(scale));
        assert_eq!(alone.into_data(), got.narrow(0, 1, 1).into_data());
    }
}
