//! Group and layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::silu, module};

use super::Init;

/// Normalises each group of channels of each sample. Wu & He 2018, arXiv:1803.08494.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// γ: `[C]`.
    pub weight: Param<Tensor<1>>,
    /// β: `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    epsilon: f64,
}

impl GroupNorm {
    /// γ = 1, β = 0. `channels` must be a multiple of `groups` (configs are checked before).
    pub fn new(groups: usize, channels: usize, epsilon: f64, init: &mut Init) -> Self {
        let weight = init.constant([channels], 1.0);
        let bias = init.constant([channels], 0.0);
        Self { weight, bias, groups, epsilon }
    }

    /// (x − μ)/√(σ² + ε)·γ + β over `[B, C, H, W]`, computed as x·scale + shift with one scale and
    /// shift for each sample and channel: two passes over the picture instead of four.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let per_group = c / self.groups;
        let grouped = x.clone().reshape([b, self.groups, per_group * h * w]);
        let mean = grouped.clone().mean_dim(2); // [B, G, 1]
        let variance = (grouped - mean.clone()).square().mean_dim(2);
        let reciprocal_std = (variance + self.epsilon).sqrt().recip();

        let gamma = self.weight.val().reshape([1, self.groups, per_group]);
        let beta = self.bias.val().reshape([1, self.groups, per_group]);
        let scale = reciprocal_std * gamma; // [B, G, C/G]
        let shift = beta - mean * scale.clone();
        x * scale.reshape([b, c, 1, 1]) + shift.reshape([b, c, 1, 1])
    }

    /// SiLU of the normalised input, the pair that opens every convolution of the networks.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        silu(self.forward(x))
    }
}

/// Normalises the last dimension. Ba et al. 2016, arXiv:1607.06450.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// γ: `[D]`.
    pub weight: Param<Tensor<1>>,
    /// β: `[D]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// γ = 1, β = 0.
    pub fn new(width: usize, epsilon: f64, init: &mut Init) -> Self {
        Self { weight: init.constant([width], 1.0), bias: init.constant([width], 0.0), epsilon }
    }

    /// `[.., D]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}
