//! `vae/config.json`.

use serde::{Deserialize, Serialize};

use super::LatentScaling;
use crate::error::{Error, Result};
use crate::files::config_keys::{Extra, first_number, require};

/// diffusers' keys of `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderConfig {
    /// `AutoencoderKL`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Version of diffusers whose format this is.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Image channels in.
    pub in_channels: usize,
    /// Image channels out.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` for each level.
    pub down_block_types: Vec<String>,
    /// One `UpDecoderBlock2D` for each level.
    pub up_block_types: Vec<String>,
    /// Channels at each level, finest first; f = 2^(levels − 1).
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Only `silu`.
    pub act_fn: String,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Side of the training images in pixels.
    #[serde(deserialize_with = "first_number")]
    pub sample_size: Option<usize>,
    /// Latents times this have standard deviation ≈ 1. Measured at the end of training.
    pub scaling_factor: f64,
    /// Subtracted from the latent before scaling; 0 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift_factor: Option<f64>,
    /// Mean of each channel of the latent, of models that normalise channels one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each channel, with `latents_mean`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents_std: Option<Vec<f64>>,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle has self-attention.
    pub mid_block_add_attention: bool,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            class_name: "AutoencoderKL".into(),
            diffusers_version: crate::files::config_keys::DIFFUSERS_VERSION.into(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: Some(32),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            extra: Extra::default(),
        }
    }
}

/// Residual blocks of a level: more is a damaged config, not a network.
const MOST_LAYERS: usize = 256;
/// Channels: as [`MOST_LAYERS`].
const WIDEST: usize = 1 << 20;

impl AutoencoderConfig {
    /// The block type lists for the number of levels, which are always the same.
    pub fn with_levels(mut self, block_out_channels: Vec<usize>) -> Self {
        self.down_block_types = vec!["DownEncoderBlock2D".into(); block_out_channels.len()];
        self.up_block_types = vec!["UpDecoderBlock2D".into(); block_out_channels.len()];
        self.block_out_channels = block_out_channels;
        self
    }

    /// f: image side over latent side.
    pub fn downsampling(&self) -> usize {
        1 << (self.block_out_channels.len().saturating_sub(1))
    }

    /// How latents become those that a denoiser sees.
    pub fn scaling(&self) -> LatentScaling {
        let scale = self.scaling_factor;
        match self.latents_mean.as_ref().zip(self.latents_std.as_ref()) {
            Some((mean, std)) => {
                LatentScaling::new(mean, &std.iter().map(|std| scale / std).collect::<Vec<_>>())
            }
            None => LatentScaling::new(&[self.shift_factor.unwrap_or(0.0)], &[scale]),
        }
    }

    /// Refuses what no autoencoder can be made of.
    ///
    /// # Errors
    /// `Error::Config` naming the first key that this network cannot honour.
    pub fn validate(&self) -> Result<()> {
        let bad =
            |key: &str, expected: String, got: String| Error::config("vae/config.json", key, expected, got);
        require("vae/config.json", "act_fn", &self.act_fn, &["silu", "swish"])?;
        for block in &self.down_block_types {
            require("vae/config.json", "down_block_types", block, &["DownEncoderBlock2D"])?;
        }
        for block in &self.up_block_types {
            require("vae/config.json", "up_block_types", block, &["UpDecoderBlock2D"])?;
        }
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let got = format!("{} down, {} up", self.down_block_types.len(), self.up_block_types.len());
            return Err(bad("down_block_types", format!("one block for each of {levels} levels"), got));
        }
        let groups = self.norm_num_groups;
        if groups == 0 || self.block_out_channels.iter().any(|&c| c == 0 || c > WIDEST || c % groups != 0) {
            let got = format!("{:?}", self.block_out_channels);
            return Err(bad("block_out_channels", format!("multiples of norm_num_groups = {groups}"), got));
        }
        for (key, values) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            let both = self.latents_mean.is_some() == self.latents_std.is_some();
            let fits = values.as_ref().is_none_or(|values| {
                values.len() == self.latent_channels && values.iter().all(|v| v.is_finite())
            });
            if !both || !fits {
                let expected =
                    format!("{} numbers, for both of latents_mean and latents_std", self.latent_channels);
                return Err(bad(key, expected, format!("{values:?}")));
            }
        }
        for (key, value, most) in [
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("latent_channels", self.latent_channels, WIDEST),
            ("in_channels", self.in_channels, WIDEST),
            ("out_channels", self.out_channels, WIDEST),
        ] {
            if !(1..=most).contains(&value) {
                return Err(bad(key, format!("1 to {most}"), value.to_string()));
            }
        }
        Ok(())
    }
}
