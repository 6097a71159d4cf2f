//! Image to moments of the latent.

use burn::module::Module;
use burn::tensor::Tensor;

use super::AutoencoderConfig;
use super::blocks::{DownBlock, MidBlock};
use crate::nn::{Conv2d, GroupNorm, Init};

/// `[B, H, W, 3]` to `[B, H/f, W/f, 2·Z]`: mean and log variance of the latent.
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    /// `config` must be valid.
    pub fn new(config: &AutoencoderConfig, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let inputs = [first].into_iter().chain(channels.iter().copied());
        Self {
            conv_in: Conv2d::same(config.in_channels, first, 3, init),
            down_blocks: inputs
                .zip(channels)
                .enumerate()
                .map(|(i, (input, &output))| {
                    DownBlock::new(input, output, i + 1 == channels.len(), config, init)
                })
                .collect(),
            mid_block: MidBlock::new(last, config, init),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, last, 1e-6, init),
            conv_out: Conv2d::same(last, 2 * config.latent_channels, 3, init),
        }
    }

    /// See the type.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self.down_blocks.iter().fold(self.conv_in.forward(images), |x, block| block.forward(x));
        let x = self.mid_block.forward(x);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}
