//! Halving and doubling of the resolution.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Conv2d, Init};

/// Strided 3×3 convolution: `[B, H, W, C]` to half the size.
#[derive(Module, Debug)]
pub struct Downsample {
    conv: Conv2d,
}

impl Downsample {
    /// `padding` 1 pads all sides (U-Net: output ⌈H/2⌉); 0 pads one row below and one column right
    /// (autoencoder: output ⌊H/2⌋).
    pub fn new(channels: usize, padding: usize, init: &mut Init) -> Self {
        Self { conv: Conv2d::new(channels, channels, 3, 2, [padding, 1], true, init) }
    }

    /// Halves height and width.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
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
        let [_, h, w, _] = x.dims();
        self.conv.forward(calotype_kernels::upsample_nearest(x, size.unwrap_or([2 * h, 2 * w])))
    }
}
