//! `diffusion.denoiser` and `[diffusion.flux]`: which network predicts, and the shape of a Flux transformer.

use serde::{Deserialize, Serialize};

use super::{Check, DiffusionRecipe};
use crate::denoiser::FluxConfig;
use crate::denoiser::flux::config::PATCH;
use crate::diffusion::PredictionType;
use crate::error::Result;
use crate::named::{named_enum, serde_by_name};

named_enum! {
    /// The network that predicts.
    #[derive(Default)]
    pub enum DenoiserName: "denoiser" {
        #[default]
        Unet = "unet": "convolutions at several resolutions; the picture reads the text by cross-attention",
        Flux = "flux": "a transformer of picture and text together, and a flow",
    }
}

serde_by_name!(DenoiserName);

/// `[diffusion.flux]`: the shape of a Flux transformer that begins from nothing. Its width is `heads` · `head_channels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FluxRecipe {
    /// Blocks in which text and picture have weights of their own.
    pub double_blocks: usize,
    /// Blocks behind them, in which both are one sequence.
    pub single_blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head: even, at least 8.
    pub head_channels: usize,
}

impl Default for FluxRecipe {
    fn default() -> Self {
        Self { double_blocks: 2, single_blocks: 4, heads: 4, head_channels: 32 }
    }
}

impl FluxRecipe {
    /// The network for latents of so many channels and this side, told by a CLIP text tower of this width alone.
    pub fn config(&self, latent_channels: usize, latent_side: usize, text_width: usize) -> FluxConfig {
        FluxConfig {
            in_channels: PATCH * latent_channels,
            num_layers: self.double_blocks,
            num_single_layers: self.single_blocks,
            attention_head_dim: self.head_channels,
            num_attention_heads: self.heads,
            joint_attention_dim: text_width,
            pooled_projection_dim: text_width,
            axes_dims_rope: axes(self.head_channels),
            sample_size: Some(latent_side),
            ..FluxConfig::default()
        }
    }
}

/// Channels of a head that a token's picture, row and column turn: as in Flux about an eighth, and the rest in halves, all of
/// them even.
fn axes(head: usize) -> [usize; 3] {
    let halves = |first: usize| (head - first) / 2;
    let fits = |first: &usize| *first <= head && (head - first).is_multiple_of(4);
    let first = (head.div_ceil(16) * 2..=head).step_by(2).find(fits).unwrap_or(head);
    [first, halves(first), halves(first)]
}

impl DiffusionRecipe {
    /// Keys of the network that begins from nothing.
    pub(super) fn validate_denoiser(&self, check: &Check) -> Result<()> {
        let levels = self.block_out_channels.len();
        if self.denoiser == DenoiserName::Unet {
            check.that(self.flux.is_none(), "flux", "nothing without `denoiser = \"flux\"`", "a table")?;
            check.that(levels > 0, "block_out_channels", "at least one level, or a `model`", "none")?;
            let attention = format!("{:?}", self.attention);
            return check.that(
                self.attention.len() == levels,
                "attention",
                "one entry for each level",
                attention,
            );
        }
        let nothing = "nothing with `denoiser = \"flux\"`: `[diffusion.flux]` has its shape";
        check.that(levels == 0, "block_out_channels", nothing, format!("{:?}", self.block_out_channels))?;
        check.that(self.attention.is_empty(), "attention", nothing, format!("{:?}", self.attention))?;
        let flow = self.prediction.is_none_or(|prediction| prediction == PredictionType::Flow);
        check.that(flow, "prediction", "flow_prediction with `denoiser = \"flux\"`", "another")?;
        let shape = (self.layers_per_block, self.heads, self.norm_num_groups);
        let unsaid = shape == (super::one(), super::four(), super::eight());
        check.that(unsaid, "heads", nothing, "`layers_per_block`, `heads` or `norm_num_groups`")?;
        check.that(
            self.edm.is_none(),
            "edm",
            "nothing with `denoiser = \"flux\"`, which is a flow",
            "a table",
        )?;
        let whole = "false with `denoiser = \"flux\"`, which has no parts to go back by";
        check.that(!self.gradient_checkpointing, "gradient_checkpointing", whole, true)?;
        let FluxRecipe { double_blocks, single_blocks, heads, head_channels } = self.flux.unwrap_or_default();
        check.that(double_blocks + single_blocks > 0, "flux.double_blocks", "at least one block", 0)?;
        check.that(heads > 0, "flux.heads", "at least 1", 0)?;
        let even = head_channels >= 8 && head_channels.is_multiple_of(2);
        check.that(even, "flux.head_channels", "an even number, at least 8", head_channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::DenoiserConfig;

    /// Who opens the model makes pictures of the size that it was trained on.
    #[test]
    fn the_side_of_the_latents_is_kept() {
        let config = DenoiserConfig::Flux(FluxRecipe::default().config(4, 16, 64));
        let stored = serde_json::to_value(&config).unwrap();
        let read: DenoiserConfig = serde_json::from_value(stored).unwrap();
        assert_eq!((read.sample_size(), read.in_channels(), read.context_width()), (16, 4, 64));
        assert_eq!(DenoiserConfig::Flux(FluxConfig::default()).sample_size(), 128);
    }

    #[test]
    fn positions_turn_every_channel_of_a_head() {
        for (head, expected) in
            [(128, [16, 56, 56]), (32, [4, 14, 14]), (16, [4, 6, 6]), (24, [4, 10, 10]), (8, [4, 2, 2])]
        {
            assert_eq!(axes(head), expected);
        }
        for head in (8..200).step_by(2) {
            let recipe = FluxRecipe { head_channels: head, ..FluxRecipe::default() };
            recipe.config(4, 16, 64).validate().unwrap_or_else(|e| panic!("{head}: {e}"));
        }
    }
}
