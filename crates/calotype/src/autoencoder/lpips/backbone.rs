//! The networks that LPIPS sees with: the convolutions of AlexNet and VGG-16.
//!
//! Krizhevsky 2014, arXiv:1404.5997; Simonyan and Zisserman 2015, arXiv:1409.1556, column D; both as
//! torchvision has them.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::nn::layout::{channels_first, channels_last};
use crate::nn::{Products, pooling};

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backbone {
    /// The closest to people's judgement; the usual choice for evaluation.
    AlexNet,
    /// The usual choice for training.
    Vgg16,
}

/// One convolution: its place in torchvision's `features`, channels in and out, kernel, stride, padding.
pub(super) struct Layer {
    pub place: usize,
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Backbone {
    /// The name in reports, that of the paper's code.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlexNet => "alex",
            Self::Vgg16 => "vgg",
        }
    }

    /// Height and width of the smallest picture of which the last layer has a pixel.
    pub fn smallest_side(self) -> usize {
        match self {
            Self::AlexNet => 31,
            Self::Vgg16 => 16,
        }
    }

    /// Side of the maximum pools, whose stride is 2.
    fn pool(self) -> usize {
        match self {
            Self::AlexNet => 3,
            Self::Vgg16 => 2,
        }
    }

    /// Whether a pool stands before stage `stage`.
    fn pools_before(self, stage: usize) -> bool {
        match self {
            Self::AlexNet => stage == 1 || stage == 2,
            Self::Vgg16 => stage > 0,
        }
    }

    /// The convolutions between one layer that LPIPS looks at and the next.
    pub(super) fn stages(self) -> Vec<Vec<Layer>> {
        let layer = |place, input, output, kernel, stride, padding| Layer {
            place,
            input,
            output,
            kernel,
            stride,
            padding,
        };
        let narrow = |place, input, output| layer(place, input, output, 3, 1, 1);
        match self {
            Self::AlexNet => vec![
                vec![layer(0, 3, 64, 11, 4, 2)],
                vec![layer(3, 64, 192, 5, 1, 2)],
                vec![narrow(6, 192, 384)],
                vec![narrow(8, 384, 256)],
                vec![narrow(10, 256, 256)],
            ],
            Self::Vgg16 => vec![
                vec![narrow(0, 3, 64), narrow(2, 64, 64)],
                vec![narrow(5, 64, 128), narrow(7, 128, 128)],
                vec![narrow(10, 128, 256), narrow(12, 256, 256), narrow(14, 256, 256)],
                vec![narrow(17, 256, 512), narrow(19, 512, 512), narrow(21, 512, 512)],
                vec![narrow(24, 512, 512), narrow(26, 512, 512), narrow(28, 512, 512)],
            ],
        }
    }
}

/// ReLU(W ⋆ x + b).
#[derive(Debug)]
pub(super) struct Convolution {
    pub weight: Tensor<4>, // [out, in, k, k]
    pub bias: Tensor<1>,   // [out]
    pub stride: usize,
    pub padding: usize,
}

/// A backbone with its weights, which are fixed: gradients pass through to the picture only.
#[derive(Debug)]
pub struct BackboneNetwork {
    pub(super) backbone: Backbone,
    pub(super) stages: Vec<Vec<Convolution>>,
    pub(super) products: Products,
}

impl BackboneNetwork {
    /// Which network this is.
    pub fn backbone(&self) -> Backbone {
        self.backbone
    }

    /// The same features as constants of a graph.
    pub(super) fn tracked(mut self) -> Self {
        for convolution in self.stages.iter_mut().flatten() {
            convolution.weight = convolution.weight.clone().autodiff();
            convolution.bias = convolution.bias.clone().autodiff();
        }
        self
    }

    /// The features after each of the five stages, `[B, C, H', W']`.
    ///
    /// - `x`: `[B, 3, H, W]`, scaled by [`scale_input`](super::scale_input).
    pub fn forward(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = channels_last(x);
        let mut features = Vec::with_capacity(self.stages.len());
        for (stage, convolutions) in self.stages.iter().enumerate() {
            if self.backbone.pools_before(stage) {
                x = pooling::max(x, self.backbone.pool(), 2, 0);
            }
            for Convolution { weight, bias, stride, padding } in convolutions {
                let (weight, bias, padding) = (weight.clone(), bias.clone(), [[*padding; 2]; 2]);
                x = relu(calotype_kernels::conv2d(x, weight, bias, *stride, padding, self.products));
            }
            features.push(channels_first(x.clone()));
        }
        features
    }
}
