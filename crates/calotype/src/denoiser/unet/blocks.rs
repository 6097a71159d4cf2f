//! The levels of the U-Net: down, middle, up.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{concat, fork};

use super::UnetConfig;
use super::block_types::MidBlockType;
use crate::nn::resample::{Downsample, Upsample};
use crate::nn::resnet_block::ResnetConfig;
use crate::nn::transformer_2d::{Transformer2d, Transformer2dConfig};
use crate::nn::{AttentionHook, Init, ResnetBlock};

/// The condition as every block sees it: the timestep embedded, the text for cross-attention.
#[derive(Clone, Copy)]
pub struct Embedded<'a> {
    /// Embedded timestep: `[B, time width]`.
    pub time: &'a Tensor<2>,
    /// Text features: `[B, L, cross_attention_dim]`.
    pub context: &'a Tensor<3>,
    /// Sees the cross-attention probabilities.
    pub hook: Option<&'a dyn AttentionHook>,
}

pub(super) fn resnet_config(config: &UnetConfig) -> ResnetConfig {
    ResnetConfig {
        groups: config.norm_num_groups,
        epsilon: config.norm_eps,
        time_width: Some(4 * config.block_out_channels[0]),
    }
}

fn transformer_config(config: &UnetConfig, level: usize, layers: usize) -> Transformer2dConfig {
    Transformer2dConfig {
        heads: config.heads(level),
        context_width: config.cross_attention_dim,
        layers,
        groups: config.norm_num_groups,
        linear_projection: config.use_linear_projection,
    }
}

/// `x`, which is also pushed on `skips`.
pub(super) fn keep(x: Tensor<4>, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
    let [x, skip] = fork(x);
    skips.push(skip);
    x
}

/// Residual blocks, each followed by a transformer where the level attends, then half the size.
#[derive(Module, Debug)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2d>,
    downsamplers: Vec<Downsample>,
}

impl DownBlock {
    pub(super) fn new(level: usize, input: usize, config: &UnetConfig, init: &mut Init) -> Self {
        let output = config.block_out_channels[level];
        let layers = config.layers_per_block.at(level);
        let attends = config.down_block_types[level].attends();
        let last = level + 1 == config.block_out_channels.len();
        Self {
            resnets: (0..layers)
                .map(|i| {
                    ResnetBlock::new(if i == 0 { input } else { output }, output, resnet_config(config), init)
                })
                .collect(),
            attentions: (0..if attends { layers } else { 0 })
                .map(|i| transformer_config(config, level, config.depth_down(level, i)))
                .map(|transformer| Transformer2d::new(output, transformer, init))
                .collect(),
            downsamplers: if last { vec![] } else { vec![Downsample::new(output, 1, init)] },
        }
    }

    /// Pushes the output of every stage on `skips`, for the way up.
    pub(super) fn forward(&self, mut x: Tensor<4>, on: Embedded, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(on.time));
            if let Some(transformer) = self.attentions.get(i) {
                x = transformer.forward(x, on.context, on.hook);
            }
            x = keep(x, skips);
        }
        for downsample in &self.downsamplers {
            x = keep(downsample.forward(x), skips);
        }
        x
    }
}

/// Residual block, transformer, residual block at the coarsest level; or the first of them alone.
#[derive(Module, Debug)]
pub struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2d>,
}

impl MidBlock {
    /// `None` where the config has no middle.
    pub(super) fn new(config: &UnetConfig, init: &mut Init) -> Option<Self> {
        let level = config.block_out_channels.len() - 1;
        let width = config.block_out_channels[level];
        let (resnets, transformers) = match config.mid_block_type {
            None => return None,
            Some(MidBlockType::Residual) => (1, 0),
            Some(MidBlockType::CrossAttention) => (2, 1),
        };
        let transformer = transformer_config(config, level, config.depth_down(level, 0));
        Some(Self {
            resnets: (0..resnets)
                .map(|_| ResnetBlock::new(width, width, resnet_config(config), init))
                .collect(),
            attentions: (0..transformers).map(|_| Transformer2d::new(width, transformer, init)).collect(),
        })
    }

    pub(super) fn forward(&self, x: Tensor<4>, on: Embedded) -> Tensor<4> {
        let mut x = self.resnets[0].forward(x, Some(on.time));
        for (transformer, resnet) in self.attentions.iter().zip(&self.resnets[1..]) {
            x = resnet.forward(transformer.forward(x, on.context, on.hook), Some(on.time));
        }
        x
    }
}

/// One more residual block than on the way down, each reading one skip connection, then twice the
/// size.
#[derive(Module, Debug)]
pub struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2d>,
    upsamplers: Vec<Upsample>,
}

impl UpBlock {
    /// `i` counts from the coarsest level.
    pub(super) fn new(i: usize, config: &UnetConfig, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let level = channels.len() - 1 - i;
        let output = channels[level];
        let from_below = channels[(level + 1).min(channels.len() - 1)];
        let last_skip = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block.at(level) + 1;
        Self {
            resnets: (0..layers)
                .map(|j| {
                    let input = if j == 0 { from_below } else { output };
                    let skip = if j + 1 == layers { last_skip } else { output };
                    ResnetBlock::new(input + skip, output, resnet_config(config), init)
                })
                .collect(),
            attentions: (0..if config.up_block_types[i].attends() { layers } else { 0 })
                .map(|j| transformer_config(config, level, config.depth_up(level, j)))
                .map(|transformer| Transformer2d::new(output, transformer, init))
                .collect(),
            upsamplers: if level == 0 { vec![] } else { vec![Upsample::new(output, init)] },
        }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>, on: Embedded, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way up has as many blocks as the way down pushed skips");
            x = resnet.forward(concat(x, skip), Some(on.time));
            if let Some(transformer) = self.attentions.get(i) {
                x = transformer.forward(x, on.context, on.hook);
            }
        }
        for upsample in &self.upsamplers {
            // The next skip tells the size, which is odd where an odd size was halved.
            let size = skips.last().map(|skip| [skip.dims()[1], skip.dims()[2]]);
            x = upsample.forward(x, size);
        }
        x
    }
}
