//! Group, layer and root mean square normalisation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Init;
use super::offload::value_on;

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

    /// (x − μ)/√(σ² + ε)·γ + β over `[B, H, W, C]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.normalise(x, None, false)
    }

    /// SiLU of the normalised input, the pair that opens every convolution of the networks.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.normalise(x, None, true)
    }

    /// [`GroupNorm::forward_silu`] of `x` + `shift`, which is `[B, C]`: the same for all pixels of a picture.
    pub fn forward_shifted_silu(&self, x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
        self.normalise(x, Some(shift), true)
    }

    fn normalise(&self, x: Tensor<4>, shift: Option<Tensor<2>>, silu: bool) -> Tensor<4> {
        let [gamma, beta] = [&self.weight, &self.bias].map(|parameter| value_on(parameter, &x.device()));
        calotype_kernels::group_norm(x, shift, gamma, beta, self.groups, self.epsilon, silu)
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
        let [gamma, beta] = [&self.weight, &self.bias].map(|parameter| value_on(parameter, &x.device()));
        calotype_kernels::layer_norm(x, gamma, beta, self.epsilon)
    }
}

/// Divides the last dimension by its root mean square. Zhang & Sennrich 2019, arXiv:1910.07467.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// γ: `[D]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    /// γ = 1.
    pub fn new(width: usize, epsilon: f64, init: &mut Init) -> Self {
        Self { weight: init.constant([width], 1.0), epsilon }
    }

    /// `[.., D]` to the same shape: x/√(mean(x²) + ε)·γ.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let gamma = value_on(&self.weight, &x.device());
        calotype_kernels::rms_norm(x, gamma, self.epsilon)
    }
}
