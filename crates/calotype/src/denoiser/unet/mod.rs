//! The conditional U-Net.

pub mod block_types;
pub mod blocks;
pub mod config;
pub mod levels;
pub mod recompute;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::denoiser::Condition;
use crate::error::{Error, Result};
use crate::nn::layout::{channels_first, channels_last};
use crate::nn::timestep_embedding::{TimestepEmbedding, sinusoids};
use crate::nn::{AttentionHook, Conv2d, GroupNorm, Init};
use blocks::{DownBlock, Embedded, MidBlock, UpBlock};

pub use config::UnetConfig;

/// A part of the U-Net that runs as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first convolution.
    In,
    /// A level on the way down, 0 the finest.
    Down(usize),
    /// The coarsest level.
    Middle,
    /// A level on the way up, 0 the coarsest.
    Up(usize),
    /// The last convolution.
    Out,
}

/// What one stage hands to the next.
#[derive(Debug, Clone)]
pub(super) struct Between {
    /// The picture: channels first before the first stage and after the last, channels last between them.
    pub x: Tensor<4>,
    /// Outputs of the way down that the way up has not read yet.
    pub skips: Vec<Tensor<4>>,
}

/// ε_θ(z_t, t, c): `[B, in, H, W]` to `[B, out, H, W]`. Ronneberger et al. 2015 with the blocks of
/// Rombach et al. 2022.
#[derive(Module, Debug)]
pub struct Unet {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    add_embedding: Option<TimestepEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    sinusoid_width: usize,
    #[module(skip)]
    in_channels: usize,
    #[module(skip)]
    context_width: usize,
    /// Sinusoids of each size, and width of all that is embedded.
    #[module(skip)]
    added_widths: Option<[usize; 2]>,
    /// Sinusoids of the guidance scale, of networks that were distilled with guidance.
    #[module(skip)]
    guidance_width: Option<usize>,
    #[module(skip)]
    flip_sin_to_cos: bool,
    #[module(skip)]
    freq_shift: f64,
}

impl Unet {
    /// A network of the shape that `config` describes.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that this network does not have.
    pub fn new(config: &UnetConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let channels = &config.block_out_channels;
        let first = channels[0];
        let inputs = [first].into_iter().chain(channels.iter().copied());
        Ok(Self {
            conv_in: Conv2d::same(config.in_channels, first, 3, init),
            time_embedding: match config.time_cond_proj_dim {
                Some(condition) => {
                    TimestepEmbedding::new(first, 4 * first, init).with_condition(first, condition, init)
                }
                None => TimestepEmbedding::new(first, 4 * first, init),
            },
            add_embedding: config.added_widths().map(|[_, all]| TimestepEmbedding::new(all, 4 * first, init)),
            down_blocks: inputs
                .take(channels.len())
                .enumerate()
                .map(|(level, input)| DownBlock::new(level, input, config, init))
                .collect(),
            mid_block: MidBlock::new(config, init),
            up_blocks: (0..channels.len()).map(|i| UpBlock::new(i, config, init)).collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, first, config.norm_eps, init),
            conv_out: Conv2d::same(first, config.out_channels, 3, init),
            sinusoid_width: first,
            in_channels: config.in_channels,
            context_width: config.cross_attention_dim,
            added_widths: config.added_widths(),
            guidance_width: config.time_cond_proj_dim,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        })
    }

    /// - `x_t`: `[B, in, H, W]`, noisy scaled latents.
    /// - `timesteps`: `B` numbers in [0, T).
    /// - `condition`: `context` is `[B, L, cross_attention_dim]`.
    /// - `hook`: sees the probabilities of every cross-attention layer.
    ///
    /// # Errors
    /// `Error::Shape` if channels, batch sizes or the text width do not fit, or pooled text and sizes are there
    /// for a network without, or the reverse.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        let time = self.embed(&x_t, timesteps, condition)?;
        let on = Embedded { time: &time, context: &condition.context, hook };
        let start = Between { x: x_t, skips: vec![] };
        Ok(self.stages().into_iter().fold(start, |reached, stage| self.run(stage, reached, on)).x)
    }

    /// The embedded timestep, `[B, 4·C₀]`, of inputs that fit.
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub(super) fn embed(
        &self,
        x_t: &Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
    ) -> Result<Tensor<2>> {
        let [b, c, h, w] = x_t.dims();
        let [context_batch, tokens, width] = condition.context.dims();
        if c != self.in_channels || h == 0 || w == 0 {
            return Err(Error::shape(
                "U-Net sample",
                format!("[B, {}, H, W]", self.in_channels),
                format!("{:?}", [b, c, h, w]),
            ));
        }
        if timesteps.len() != b || context_batch != b || tokens == 0 || width != self.context_width {
            let expected = format!("{b} timesteps and context [{b}, L ≥ 1, {}]", self.context_width);
            let got =
                format!("{} timesteps and context {:?}", timesteps.len(), [context_batch, tokens, width]);
            return Err(Error::shape("U-Net condition", expected, got));
        }
        let embedding =
            sinusoids(timesteps, self.sinusoid_width, self.flip_sin_to_cos, self.freq_shift, &x_t.device());
        let scale = condition
            .guidance
            .as_ref()
            .and_then(|scales| self.embedded_guidance(scales, &embedding.device()));
        let time = self.time_embedding.forward_with(embedding, scale); // [B, 4·C₀]
        Ok(match (&self.add_embedding, self.added(b, condition)?) {
            (Some(network), Some(added)) => time + network.forward(added),
            _ => time,
        })
    }

    /// The stages, in their order.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let down = (0..self.down_blocks.len()).map(Stage::Down);
        let middle = self.mid_block.iter().map(|_| Stage::Middle);
        let up = (0..self.up_blocks.len()).map(Stage::Up);
        [Stage::In].into_iter().chain(down).chain(middle).chain(up).chain([Stage::Out]).collect()
    }

    /// One stage.
    pub(super) fn run(&self, stage: Stage, Between { x, mut skips }: Between, on: Embedded) -> Between {
        let x = match stage {
            Stage::In => blocks::keep(self.conv_in.forward(channels_last(x)), &mut skips),
            Stage::Down(i) => self.down_blocks[i].forward(x, on, &mut skips),
            Stage::Middle => self.mid_block.iter().fold(x, |x, block| block.forward(x, on)),
            Stage::Up(i) => self.up_blocks[i].forward(x, on, &mut skips),
            Stage::Out => channels_first(self.conv_out.forward(self.conv_norm_out.forward_silu(x))),
        };
        Between { x, skips }
    }

    /// Whether guidance is in the network: a scale, and no second pass.
    pub fn takes_guidance(&self) -> bool {
        self.guidance_width.is_some()
    }

    /// Sinusoids of 1000·(s − 1): `[B, width]`.
    fn embedded_guidance(&self, scales: &[f64], device: &Device) -> Option<Tensor<2>> {
        let scaled: Vec<f64> = scales.iter().map(|scale| 1000.0 * (scale - 1.0)).collect();
        Some(sinusoids(&scaled, self.guidance_width?, false, 1.0, device))
    }

    /// Pooled text and the sinusoids of all sizes: `[B, all]`. Podell et al. 2023, arXiv:2307.01952, section 2.2.
    fn added(&self, batch: usize, condition: &Condition) -> Result<Option<Tensor<2>>> {
        let wrong = |expected, got| Err(Error::shape("U-Net condition", expected, got));
        let told = condition.pooled.as_ref().zip(condition.sizes.as_ref());
        let ([sinusoids_width, all], (text_embeds, time_ids)) = match (self.added_widths, told) {
            (Some(widths), Some(told)) => (widths, told),
            (None, None) => return Ok(None),
            (Some(_), None) => return wrong("text_embeds and time_ids beside the text", "none"),
            (None, Some(_)) => return wrong("nothing beside the text", "text_embeds and time_ids"),
        };
        let sizes: Vec<f64> = time_ids.iter().flatten().copied().collect();
        let per_sample = all.saturating_sub(text_embeds.dims()[1]) / sinusoids_width;
        let fits = text_embeds.dims() == [batch, all - per_sample * sinusoids_width]
            && time_ids.len() == batch
            && time_ids.iter().all(|sizes| sizes.len() == per_sample);
        if !fits {
            let expected = format!("[{batch}, text] and {batch} rows of sizes, {all} numbers together");
            let got = format!(
                "{:?} and {:?}",
                text_embeds.dims(),
                time_ids.iter().map(Vec::len).collect::<Vec<_>>()
            );
            return Err(Error::shape("U-Net's text_embeds and time_ids", expected, got));
        }
        let sizes =
            sinusoids(&sizes, sinusoids_width, self.flip_sin_to_cos, self.freq_shift, &text_embeds.device());
        let sizes = sizes.reshape([batch, per_sample * sinusoids_width]);
        Ok(Some(Tensor::cat(vec![text_embeds.clone(), sizes], 1)))
    }
}
