//! Affine map of the last dimension.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::offload::value_on;
use super::{Init, Products};

/// y = x Wᵀ + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// W: `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// b: `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    products: Products,
}

impl Linear {
    /// PyTorch's default initialisation.
    pub fn new(input: usize, output: usize, bias: bool, init: &mut Init) -> Self {
        let weight = init.fan_in([output, input], input);
        let bias = bias.then(|| init.fan_in([output], input));
        Self { weight, bias, products: init.products() }
    }

    /// N(0, `std`²) weights and no bias offset, as CLIP's towers start.
    pub fn normal(input: usize, output: usize, bias: bool, std: f64, init: &mut Init) -> Self {
        let weight = init.normal([output, input], std);
        let bias = bias.then(|| init.constant([output], 0.0));
        Self { weight, bias, products: init.products() }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = value_on(&self.weight, &x.device());
        let bias = bias_or_zeros(self.bias.as_ref(), weight.dims()[0], &x.device());
        calotype_kernels::linear(x, weight, bias, self.products)
    }
}

/// A layer without a bias adds nothing.
pub(super) fn bias_or_zeros(bias: Option<&Param<Tensor<1>>>, output: usize, device: &Device) -> Tensor<1> {
    bias.map_or_else(|| Tensor::zeros([output], device), |bias| value_on(bias, device))
}
