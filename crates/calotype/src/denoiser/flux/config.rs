//! `transformer/config.json` of Flux.1.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::config_keys::{DIFFUSERS_VERSION, Extra, refuse_unknown};

const FILE: &str = "transformer/config.json";

/// diffusers' keys of `FluxTransformer2DModel`. What a file lacks is as in FLUX.1-schnell, whose published config leaves
/// out some; dev's says `guidance_embeds` itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FluxConfig {
    /// `FluxTransformer2DModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Version of diffusers whose format this is.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Side of a token's patch beyond the 2×2 pixels of the latent: always 1.
    pub patch_size: usize,
    /// Numbers of a token that goes in: 64, and more in models that are told a picture beside it (Fill 384, Depth and
    /// Canny 128).
    pub in_channels: usize,
    /// Numbers of a token that comes out; as many as go in, where it is absent or null.
    pub out_channels: Option<usize>,
    /// Double blocks: text and picture with weights of their own.
    pub num_layers: usize,
    /// Single blocks: text and picture as one sequence.
    pub num_single_layers: usize,
    /// Channels of a head (here the name is right).
    pub attention_head_dim: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Width of T5's features.
    pub joint_attention_dim: usize,
    /// Width of CLIP's pooled feature.
    pub pooled_projection_dim: usize,
    /// Whether the guidance scale is embedded (dev), or there is none (schnell).
    pub guidance_embeds: bool,
    /// Channels of a head that the three components of a token's position turn.
    pub axes_dims_rope: [usize; 3],
    /// Side of the latents that the network was trained on, where it is not the published models'. No key of diffusers,
    /// which passes over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_size: Option<usize>,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for FluxConfig {
    fn default() -> Self {
        Self {
            class_name: "FluxTransformer2DModel".into(),
            diffusers_version: DIFFUSERS_VERSION.into(),
            patch_size: 1,
            in_channels: 64,
            out_channels: None,
            num_layers: 19,
            num_single_layers: 38,
            attention_head_dim: 128,
            num_attention_heads: 24,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            guidance_embeds: false,
            axes_dims_rope: [16, 56, 56],
            sample_size: None,
            extra: Extra::default(),
        }
    }
}

/// Blocks of a kind: more is a damaged config, not a network (dev has 19 and 38).
const MOST_BLOCKS: usize = 256;
/// Widths: as [`MOST_BLOCKS`].
const WIDEST: usize = 1 << 20;
/// Pixels of the latent in a token.
pub const PATCH: usize = 4;
/// Side of the latents of the published models: pictures of 1024 pixels a side.
pub const USUAL_SAMPLE_SIZE: usize = 128;

impl FluxConfig {
    /// D, the width of the network.
    pub fn width(&self) -> usize {
        self.attention_head_dim * self.num_attention_heads
    }

    /// Numbers of a token that comes out.
    pub fn out_channels(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }

    /// Refuses what no Flux can be made of.
    ///
    /// # Errors
    /// `Error::Config` naming the first key that this network cannot honour.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, expected: String, got: String| Err(Error::config(FILE, key, expected, got));
        refuse_unknown(FILE, &self.extra, &[])?;
        if self.patch_size != 1 {
            return bad("patch_size", "1".into(), self.patch_size.to_string());
        }
        for (key, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels())] {
            if !(1..=WIDEST).contains(&channels) || !channels.is_multiple_of(PATCH) {
                let expected = format!("a multiple of {PATCH}, the pixels of the latent in a token");
                return bad(key, expected, channels.to_string());
            }
        }
        for (key, blocks) in [("num_layers", self.num_layers), ("num_single_layers", self.num_single_layers)]
        {
            if blocks > MOST_BLOCKS {
                return bad(key, format!("at most {MOST_BLOCKS}"), blocks.to_string());
            }
        }
        for (key, width) in [
            ("attention_head_dim", self.attention_head_dim),
            ("num_attention_heads", self.num_attention_heads),
            ("joint_attention_dim", self.joint_attention_dim),
            ("pooled_projection_dim", self.pooled_projection_dim),
        ] {
            if !(1..=WIDEST).contains(&width) {
                return bad(key, format!("1 to {WIDEST}"), width.to_string());
            }
        }
        if self.width() > WIDEST {
            let expected = format!("at most {WIDEST} channels in all heads");
            return bad("num_attention_heads", expected, self.width().to_string());
        }
        self.validate_axes()
    }

    /// Positions turn pairs of channels, and every one of them.
    fn validate_axes(&self) -> Result<()> {
        let head = self.attention_head_dim;
        if !head.is_multiple_of(2) {
            let expected = "an even number: positions turn pairs of channels";
            return Err(Error::config(FILE, "attention_head_dim", expected, head));
        }
        let sum = self.axes_dims_rope.iter().try_fold(0usize, |sum, &axis| sum.checked_add(axis));
        if sum != Some(head) || self.axes_dims_rope.iter().any(|axis| !axis.is_multiple_of(2)) {
            let expected = format!("three even numbers that add up to attention_head_dim, {head}");
            let got = format!("{:?}", self.axes_dims_rope);
            return Err(Error::config(FILE, "axes_dims_rope", expected, got));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn parsed(text: &str) -> FluxConfig {
        serde_json::from_str(text).unwrap()
    }

    /// FLUX.1-dev's own file, which leaves `axes_dims_rope` and `out_channels` out.
    #[test]
    fn what_a_published_config_leaves_out_is_known() {
        let dev = parsed(
            r#"{"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0.dev0",
                "_name_or_path": "../checkpoints/flux-dev/transformer", "attention_head_dim": 128,
                "guidance_embeds": true, "in_channels": 64, "joint_attention_dim": 4096, "num_attention_heads": 24,
                "num_layers": 19, "num_single_layers": 38, "patch_size": 1, "pooled_projection_dim": 768}"#,
        );
        dev.validate().unwrap();
        assert_eq!((dev.width(), dev.out_channels(), dev.axes_dims_rope), (3072, 64, [16, 56, 56]));
        assert!(dev.guidance_embeds && !parsed("{}").guidance_embeds);
        assert_eq!(parsed(r#"{"in_channels": 384, "out_channels": null}"#).out_channels(), 384);
    }

    #[test]
    fn what_no_network_can_be_made_of_is_refused_by_its_key() {
        for (text, key) in [
            (r#"{"patch_size": 2}"#, "patch_size"),
            (r#"{"in_channels": 6}"#, "in_channels"),
            (r#"{"out_channels": 0}"#, "out_channels"),
            (r#"{"num_layers": 100000}"#, "num_layers"),
            (r#"{"num_attention_heads": 0}"#, "num_attention_heads"),
            (r#"{"num_attention_heads": 1000000}"#, "num_attention_heads"),
            (r#"{"attention_head_dim": 15, "axes_dims_rope": [3, 6, 6]}"#, "attention_head_dim"),
            (r#"{"attention_head_dim": 64}"#, "axes_dims_rope"),
            (r#"{"attention_head_dim": 16, "axes_dims_rope": [2, 7, 7]}"#, "axes_dims_rope"),
            (r#"{"quantization_config": {"quant_method": "bitsandbytes"}}"#, "quantization_config"),
        ] {
            let beginning = format!("`transformer/config.json`: key `{key}`: expected");
            assert_refuses(parsed(text).validate(), &beginning);
        }
        let two_axes = serde_json::from_str::<FluxConfig>(r#"{"axes_dims_rope": [64, 64]}"#);
        assert_refuses(two_axes, "invalid length 2");
    }
}
