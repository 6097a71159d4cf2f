//! Two-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::offload::value_on;
use super::{Init, Products, linear::bias_or_zeros};

/// y = W ⋆ x + b, square kernel, equal stride and zero padding on both axes. Pictures are channels-last
/// ([`layout`](super::layout)), weights are in PyTorch's shape.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// W: `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// b: `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: [usize; 2],
    #[module(skip)]
    products: Products,
}

impl Conv2d {
    /// Kernel `kernel`, stride 1, padding `kernel / 2`: the size stays.
    pub fn same(input: usize, output: usize, kernel: usize, init: &mut Init) -> Self {
        Self::new(input, output, kernel, 1, [kernel / 2; 2], true, init)
    }

    /// `padding`: rows and columns of zeros before and after. PyTorch's default initialisation.
    pub fn new(
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: [usize; 2],
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let fan_in = input * kernel * kernel;
        Self {
            weight: init.fan_in([output, input, kernel, kernel], fan_in),
            bias: bias.then(|| init.fan_in([output], fan_in)),
            stride,
            padding,
            products: init.products(),
        }
    }

    /// Precision of its products.
    pub fn products(&self) -> Products {
        self.products
    }

    /// `[B, H, W, in]` to `[B, H', W', out]` with H' = (H + padding − k) / stride + 1.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = value_on(&self.weight, &x.device());
        let bias = bias_or_zeros(self.bias.as_ref(), weight.dims()[0], &x.device());
        calotype_kernels::conv2d(x, weight, bias, self.stride, [self.padding; 2], self.products)
    }
}
