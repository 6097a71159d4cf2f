//! Residual block of two convolutions.

use burn::module::Module;
use burn::tensor::{Tensor, activation::silu};
use calotype_kernels::{add, fork};

use super::{Conv2d, GroupNorm, Init, Linear};

/// x + conv(silu(norm(conv(silu(norm(x))) + time))). He et al. 2016 as Ho et al. 2020 use it.
#[derive(Module, Debug)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

/// What all residual blocks of one network share.
#[derive(Debug, Clone, Copy)]
pub struct ResnetConfig {
    /// Groups of the group norms.
    pub groups: usize,
    /// ε of the group norms.
    pub epsilon: f64,
    /// Width of the time embedding; `None` in an autoencoder.
    pub time_width: Option<usize>,
}

impl ResnetBlock {
    /// From `input` to `output` channels; a 1×1 shortcut where they differ.
    pub fn new(input: usize, output: usize, config: ResnetConfig, init: &mut Init) -> Self {
        Self {
            norm1: GroupNorm::new(config.groups, input, config.epsilon, init),
            conv1: Conv2d::same(input, output, 3, init),
            time_emb_proj: config.time_width.map(|width| Linear::new(width, output, true, init)),
            norm2: GroupNorm::new(config.groups, output, config.epsilon, init),
            conv2: Conv2d::same(output, output, 3, init),
            conv_shortcut: (input != output).then(|| Conv2d::same(input, output, 1, init)),
        }
    }

    /// `x`: `[B, H, W, in]`; `time`: `[B, time width]` where the block has a time projection.
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let [x, residual] = fork(x);
        let h = self.conv1.forward(self.norm1.forward_silu(x)); // [B, H, W, out]
        let h = match (&self.time_emb_proj, time) {
            (Some(projection), Some(time)) => {
                let shift = projection.forward(silu(time.clone())); // [B, out]
                self.norm2.forward_shifted_silu(h, shift)
            }
            _ => self.norm2.forward_silu(h),
        };
        let h = self.conv2.forward(h);
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(residual),
            None => residual,
        };
        add(shortcut, h)
    }
}
