//! The levels of encoder and decoder, and the middle between them.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{add, fork};

use super::AutoencoderConfig;
use crate::nn::resample::{Downsample, Upsample};
use crate::nn::resnet_block::ResnetConfig;
use crate::nn::{Attention, GroupNorm, Init, ResnetBlock};

pub(super) fn resnet_config(config: &AutoencoderConfig) -> ResnetConfig {
    ResnetConfig { groups: config.norm_num_groups, epsilon: 1e-6, time_width: None }
}

/// Residual blocks, then half the resolution (but at the last level).
#[derive(Module, Debug)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsamplers: Vec<Downsample>,
}

impl DownBlock {
    pub(super) fn new(
        input: usize,
        output: usize,
        last: bool,
        config: &AutoencoderConfig,
        init: &mut Init,
    ) -> Self {
        let resnets = (0..config.layers_per_block)
            .map(|i| {
                ResnetBlock::new(if i == 0 { input } else { output }, output, resnet_config(config), init)
            })
            .collect();
        let downsamplers = if last { vec![] } else { vec![Downsample::new(output, 0, init)] };
        Self { resnets, downsamplers }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets.iter().fold(x, |x, block| block.forward(x, None));
        self.downsamplers.iter().fold(x, |x, down| down.forward(x))
    }
}

/// Residual blocks, one more than in the encoder, then twice the resolution (but at the last level).
#[derive(Module, Debug)]
pub struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsamplers: Vec<Upsample>,
}

impl UpBlock {
    pub(super) fn new(
        input: usize,
        output: usize,
        last: bool,
        config: &AutoencoderConfig,
        init: &mut Init,
    ) -> Self {
        let resnets = (0..config.layers_per_block + 1)
            .map(|i| {
                ResnetBlock::new(if i == 0 { input } else { output }, output, resnet_config(config), init)
            })
            .collect();
        let upsamplers = if last { vec![] } else { vec![Upsample::new(output, init)] };
        Self { resnets, upsamplers }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets.iter().fold(x, |x, block| block.forward(x, None));
        self.upsamplers.iter().fold(x, |x, up| up.forward(x, None))
    }
}

/// Self-attention over the positions of the feature map, one head, with a residual.
#[derive(Module, Debug)]
pub struct SpatialAttention {
    group_norm: GroupNorm,
    #[allow(missing_docs)]
    attention: Attention,
}

impl SpatialAttention {
    fn new(channels: usize, config: &AutoencoderConfig, init: &mut Init) -> Self {
        Self {
            group_norm: GroupNorm::new(config.norm_num_groups, channels, 1e-6, init),
            attention: Attention::new(channels, channels, 1, true, init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let [x, residual] = fork(x);
        let tokens = self.group_norm.forward(x).reshape([b, h * w, c]);
        add(residual, self.attention.forward_self(tokens, None).reshape([b, h, w, c]))
    }
}

/// Residual block, self-attention, residual block.
#[derive(Module, Debug)]
pub struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialAttention>,
}

impl MidBlock {
    pub(super) fn new(channels: usize, config: &AutoencoderConfig, init: &mut Init) -> Self {
        let attention = config.mid_block_add_attention.then(|| SpatialAttention::new(channels, config, init));
        Self {
            resnets: (0..2)
                .map(|_| ResnetBlock::new(channels, channels, resnet_config(config), init))
                .collect(),
            attentions: attention.into_iter().collect(),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets[0].forward(x, None);
        let x = self.attentions.iter().fold(x, |x, attention| attention.forward(x));
        self.resnets[1].forward(x, None)
    }
}
