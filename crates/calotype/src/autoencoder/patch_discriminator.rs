//! A discriminator of patches: each number of its output judges one patch of the picture.
//!
//! Isola et al. 2017, arXiv:1611.07004, section 3.2.2; as Esser et al. 2021, arXiv:2012.09841, use it.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;

use crate::nn::layout::{channels_first, channels_last};
use crate::nn::{Conv2d, Init};

const KERNEL: usize = 4;
const SLOPE: f64 = 0.2;
/// Channels grow with depth up to this multiple of the first layer's.
const MOST: usize = 8;
/// Standard deviation of the initial weights, as the paper has it.
const INITIAL_STD: f64 = 0.02;

/// Batch normalisation over the batch at hand, which is how a discriminator is used: it is only ever trained.
/// Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ: `[C]`.
    pub weight: Param<Tensor<1>>,
    /// β: `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl BatchNorm {
    fn new(channels: usize, init: &mut Init) -> Self {
        Self { weight: init.constant([channels], 1.0), bias: init.constant([channels], 0.0) }
    }

    /// `[B, H, W, C]`, each channel over the whole batch.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let rows = x.reshape([b * h * w, c]);
        let centred = rows.clone() - rows.mean_dim(0);
        let variance = centred.clone().square().mean_dim(0);
        let normal = centred / (variance + 1e-5).sqrt();
        (normal * self.weight.val().reshape([1, c]) + self.bias.val().reshape([1, c])).reshape([b, h, w, c])
    }
}

/// A convolution without bias and its normalisation.
#[derive(Module, Debug)]
pub struct NormalisedConv {
    conv: Conv2d,
    norm: BatchNorm,
}

/// 4×4 convolutions with leaky rectifiers between them: `layers` of stride 2, then two of stride 1.
#[derive(Module, Debug)]
pub struct PatchDiscriminator {
    first: Conv2d,
    middle: Vec<NormalisedConv>,
    last: Conv2d,
}

impl PatchDiscriminator {
    /// `channels` of the first layer; `layers` ≥ 1.
    pub fn new(channels: usize, layers: usize, init: &mut Init) -> Self {
        let conv = |input: usize, output: usize, stride: usize, bias: bool, init: &mut Init| {
            let mut conv = Conv2d::new(input, output, KERNEL, stride, [1, 1], bias, init);
            conv.weight = init.normal([output, input, KERNEL, KERNEL], INITIAL_STD);
            conv
        };
        let width = |depth: usize| channels * (1 << depth).min(MOST);
        let first = conv(3, channels, 2, true, init);
        let middle = (1..=layers)
            .map(|depth| {
                let stride = if depth < layers { 2 } else { 1 };
                let conv = conv(width(depth - 1), width(depth), stride, false, init);
                NormalisedConv { conv, norm: BatchNorm::new(width(depth), init) }
            })
            .collect();
        Self { first, middle, last: conv(width(layers), 1, 1, true, init) }
    }

    /// Logits `[B, 1, h, w]` of pictures `[B, 3, H, W]` in [−1, 1]: large where a patch looks real.
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<4> {
        let x = leaky_relu(self.first.forward(channels_last(pictures)), SLOPE);
        let x = self
            .middle
            .iter()
            .fold(x, |x, layer| leaky_relu(layer.norm.forward(layer.conv.forward(x)), SLOPE));
        channels_first(self.last.forward(x))
    }
}
