//! Two-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use super::Init;

/// y = W ⋆ x + b, square kernel, equal stride and zero padding on both axes.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// W: `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// b: `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl Conv2d {
    /// Kernel `kernel`, stride 1, padding `kernel / 2`: the size stays.
    pub fn same(input: usize, output: usize, kernel: usize, init: &mut Init) -> Self {
        Self::new(input, output, kernel, 1, kernel / 2, true, init)
    }

    /// PyTorch's default initialisation.
    pub fn new(
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let fan_in = input * kernel * kernel;
        Self {
            weight: init.fan_in([output, input, kernel, kernel], fan_in),
            bias: bias.then(|| init.fan_in([output], fan_in)),
            stride,
            padding,
        }
    }

    /// `[B, in, H, W]` to `[B, out, H', W']` with H' = (H + 2·padding − k) / stride + 1.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        module::conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options)
    }
}
