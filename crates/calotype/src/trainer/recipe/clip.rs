//! `[clip]`: both towers and their loss.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::{Check, TrainingRecipe};
use crate::error::Result;
use crate::text_encoder::config::HiddenAct;
use crate::text_encoder::{ClipConfig, ClipTextConfig, ClipVisionConfig};

/// `[clip]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRecipe {
    /// Most tokens of the vocabulary, at least 514.
    pub vocab_size: usize,
    /// Longest caption in tokens.
    pub max_length: usize,
    /// Width of the shared space.
    pub projection_dim: usize,
    /// Width of the text tower.
    pub text_width: usize,
    /// Layers of the text tower.
    pub text_layers: usize,
    /// Width of the vision tower.
    pub vision_width: usize,
    /// Layers of the vision tower.
    pub vision_layers: usize,
    /// Heads of both towers.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// The loss.
    #[serde(default)]
    pub objective: ClipObjective,
    /// Whether captions with two nouns exchanged are wrong answers beside those of the other pictures. Without them
    /// hardly any batch asks who is where.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub exchanged_captions: bool,
    /// The training. Its `parts` are those of the gradient cache: every pair of the whole batch is compared.
    pub training: TrainingRecipe,
}

/// What a pair of towers is trained by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipObjective {
    /// Which of the batch belongs to it.
    #[default]
    InfoNce,
    /// Whether this one belongs to it.
    Siglip,
}

impl ClipRecipe {
    pub(super) fn validate(&self, check: &Check) -> Result<()> {
        let pairs = self.training.batch_size;
        check.that(pairs >= 2, "training.batch_size", "at least 2: pairs are compared", pairs)
    }

    /// The same without what does not decide the weights.
    pub(crate) fn identity(&self) -> Self {
        Self { training: self.training.identity(), ..self.clone() }
    }

    /// `clip/config.json` for a tokenizer with these ids and pictures of `size` pixels.
    pub fn config(&self, size: usize, vocab_size: usize, [start, end, pad]: [u32; 3]) -> ClipConfig {
        ClipConfig {
            projection_dim: self.projection_dim,
            text_config: ClipTextConfig {
                vocab_size,
                hidden_size: self.text_width,
                intermediate_size: 4 * self.text_width,
                projection_dim: self.projection_dim,
                num_hidden_layers: self.text_layers,
                num_attention_heads: self.heads,
                max_position_embeddings: self.max_length,
                hidden_act: HiddenAct::QuickGelu,
                bos_token_id: Some(start),
                eos_token_id: Some(end),
                pad_token_id: Some(pad),
                ..ClipTextConfig::default()
            },
            vision_config: ClipVisionConfig {
                hidden_size: self.vision_width,
                intermediate_size: 4 * self.vision_width,
                projection_dim: self.projection_dim,
                num_hidden_layers: self.vision_layers,
                num_attention_heads: self.heads,
                image_size: size,
                patch_size: self.patch_size,
                ..ClipVisionConfig::default()
            },
            ..ClipConfig::default()
        }
    }
}
