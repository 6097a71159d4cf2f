//! `config.json` of `CLIPModel` and `CLIPTextModel`.

use serde::{Deserialize, Serialize};

use super::encoder::EncoderConfig;
use crate::error::{Error, Result};
use crate::files::config_keys::Extra;

/// Activation of the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// x·σ(1.702 x): OpenAI's CLIP.
    QuickGelu,
    /// x·Φ(x): OpenCLIP.
    Gelu,
}

/// transformers' keys of the text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// `["CLIPTextModel"]` where the tower stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<String>>,
    /// `clip_text_model`.
    pub model_type: String,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width inside the feed-forward network.
    pub intermediate_size: usize,
    /// Width of the shared space.
    pub projection_dim: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Heads of the self-attention.
    pub num_attention_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Activation.
    pub hidden_act: HiddenAct,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// First token.
    pub bos_token_id: Option<u32>,
    /// End of text: its feature is the pooled one. The value 2 means "the largest id", a mistake in
    /// old configs that transformers honours too.
    pub eos_token_id: Option<u32>,
    /// Padding.
    pub pad_token_id: Option<u32>,
    /// Calotype's own key: every token has the feature of the end token, so that a denoiser reads one vector of the
    /// whole text. Other programs do not know it.
    #[serde(rename = "calotype_pooled_context", skip_serializing_if = "std::ops::Not::not")]
    pub pooled_context: bool,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: "clip_text_model".into(),
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: Some(49406),
            eos_token_id: Some(49407),
            pad_token_id: Some(1),
            pooled_context: false,
            extra: Extra::default(),
        }
    }
}

/// transformers' keys of the vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// `clip_vision_model`.
    pub model_type: String,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width inside the feed-forward network.
    pub intermediate_size: usize,
    /// Width of the shared space.
    pub projection_dim: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Heads of the self-attention.
    pub num_attention_heads: usize,
    /// Image channels.
    pub num_channels: usize,
    /// Side of the images in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Activation.
    pub hidden_act: HiddenAct,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            model_type: "clip_vision_model".into(),
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            extra: Extra::default(),
        }
    }
}

/// transformers' keys of `CLIPModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// `["CLIPModel"]`.
    pub architectures: Vec<String>,
    /// `clip`.
    pub model_type: String,
    /// Width of the shared space.
    pub projection_dim: usize,
    /// ln of the first inverse temperature: ln(1/0.07).
    pub logit_scale_init_value: f64,
    /// The text tower.
    pub text_config: ClipTextConfig,
    /// The vision tower.
    pub vision_config: ClipVisionConfig,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["CLIPModel".into()],
            model_type: "clip".into(),
            projection_dim: 512,
            logit_scale_init_value: (1.0f64 / 0.07).ln(),
            text_config: ClipTextConfig::default(),
            vision_config: ClipVisionConfig::default(),
            extra: Extra::default(),
        }
    }
}

impl ClipTextConfig {
    /// Refuses what no tower can be built of, before anything is allocated.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn validate(&self) -> Result<()> {
        EncoderConfig::from(self).validate(&[
            ("projection_dim", self.projection_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ])
    }
}

impl ClipVisionConfig {
    /// As [`ClipTextConfig::validate`].
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn validate(&self) -> Result<()> {
        EncoderConfig::from(self).validate(&[
            ("projection_dim", self.projection_dim),
            ("num_channels", self.num_channels),
            ("image_size", self.image_size),
        ])?;
        let (side, patch) = (self.image_size, self.patch_size);
        check(
            "patch_size",
            patch > 0 && side >= patch && side % patch == 0,
            || format!("a divisor of image_size = {side}"),
            patch,
        )
    }
}

/// Layers of a tower, heads, and tokens: more is a damaged config, not a network.
const MOST_LAYERS: usize = 1024;
/// Widths and vocabulary: as [`MOST_LAYERS`].
const WIDEST: usize = 1 << 24;

impl EncoderConfig {
    /// Refuses sizes that no network has, in these numbers and in `more` keys of the same config.
    fn validate(&self, more: &[(&str, usize)]) -> Result<()> {
        let most = || format!("at most {MOST_LAYERS}");
        check("num_hidden_layers", self.layers <= MOST_LAYERS, most, self.layers)?;
        let own = [("hidden_size", self.width), ("intermediate_size", self.inner_width)];
        for (key, width) in own.iter().chain(more) {
            check(key, (1..=WIDEST).contains(width), || format!("1 to {WIDEST}"), *width)?;
        }
        let heads = self.heads;
        let multiple = || format!("a multiple of {heads} heads");
        check("hidden_size", heads > 0 && self.width.is_multiple_of(heads), multiple, self.width)
    }
}

fn check(key: &str, holds: bool, expected: impl FnOnce() -> String, got: usize) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config("config.json of CLIP", key, expected(), got)) }
}
