//! Latent to image.

use burn::module::Module;
use burn::tensor::Tensor;

use super::AutoencoderConfig;
use super::blocks::{MidBlock, UpBlock};
use crate::nn::{Conv2d, GroupNorm, Init};

/// `[B, h, w, Z]` to `[B, f·h, f·w, 3]`.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    /// `config` must be valid.
    pub fn new(config: &AutoencoderConfig, init: &mut Init) -> Self {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let inputs = [coarsest].into_iter().chain(channels.iter().copied());
        Self {
            conv_in: Conv2d::same(config.latent_channels, coarsest, 3, init),
            mid_block: MidBlock::new(coarsest, config, init),
            up_blocks: inputs
                .zip(&channels)
                .enumerate()
                .map(|(i, (input, &output))| {
                    UpBlock::new(input, output, i + 1 == channels.len(), config, init)
                })
                .collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, finest, 1e-6, init),
            conv_out: Conv2d::same(finest, config.out_channels, 3, init),
        }
    }

    /// See the type.
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        self.conv_out.forward(self.features(latents))
    }

    /// All layers but the last, `[B, f·h, f·w, C]`.
    pub fn features(&self, latents: Tensor<4>) -> Tensor<4> {
        let x = self.mid_block.forward(self.conv_in.forward(latents));
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(x));
        self.conv_norm_out.forward_silu(x)
    }

    /// The last layer.
    pub fn last_layer(&self) -> &Conv2d {
        &self.conv_out
    }
}
