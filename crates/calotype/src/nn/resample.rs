//! Halving and doubling of the resolution.

use burn::module::Module;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, PadMode};
use burn::tensor::{Tensor, module};

use super::{Conv2d, Init};

/// Strided 3×3 convolution: `[B, C, H, W]` to half the size.
#[derive(Module, Debug)]
pub struct Downsample {
    conv: Conv2d,
    #[module(skip)]
    pad_end_only: bool,
}

impl Downsample {
    /// `padding` 1 pads all sides (U-Net: output ⌈H/2⌉); 0 pads one row below and one column right
    /// (autoencoder: output ⌊H/2⌋).
    pub fn new(channels: usize, padding: usize, init: &mut Init) -> Self {
        Self { conv: Conv2d::new(channels, channels, 3, 2, padding, true, init), pad_end_only: padding == 0 }
    }

    /// Halves height and width.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match self.pad_end_only {
            true => x.pad((0, 1, 0, 1), PadMode::Constant(0.0)),
            false => x,
        };
        self.conv.forward(x)
    }
}

/// Nearest-neighbour enlargement followed by a 3×3 convolution.
#[derive(Module, Debug)]
pub struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    /// Keeps the number of channels.
    pub fn new(channels: usize, init: &mut Init) -> Self {
        Self { conv: Conv2d::same(channels, channels, 3, init) }
    }

    /// To `size` = `[H', W']`, or to twice the size. A size is given where an odd one was halved on
    /// the way down.
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let options = InterpolateOptions::new(InterpolateMode::Nearest)
            .with_output_size(size.unwrap_or([2 * h, 2 * w]));
        self.conv.forward(module::interpolate(x, options))
    }
}
