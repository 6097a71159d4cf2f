//! A recipe: everything that decides a run, in one TOML file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lr_schedule::LrSchedule;
use super::optimizer::AdamWConfig;
use crate::autoencoder::AutoencoderConfig;
use crate::denoiser::UnetConfig;
use crate::denoiser::config::PerLevel;
use crate::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::sampler::SamplerKind;
use crate::text_encoder::config::HiddenAct;
use crate::text_encoder::{ClipConfig, ClipTextConfig, ClipVisionConfig};

/// The whole file. Every key must be known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of all randomness: data, weights, noise.
    pub seed: u64,
    /// The embedded data.
    pub data: DataRecipe,
    /// The autoencoder.
    pub vae: VaeRecipe,
    /// The CLIP towers.
    pub clip: ClipRecipe,
    /// The U-Net.
    pub diffusion: DiffusionRecipe,
    /// How `demo` samples and evaluates.
    pub evaluation: EvaluationRecipe,
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Side of the pictures in pixels.
    pub size: u32,
    /// Most objects in a scene, 1 to 3.
    pub max_objects: usize,
}

/// What every training has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Number of steps.
    pub steps: usize,
    /// Samples in a step.
    pub batch_size: usize,
    /// Parts of a batch that run side by side; changes the rounding of sums, so it is a setting.
    #[serde(default = "one")]
    pub parts: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// What follows the warm-up.
    pub lr_schedule: LrSchedule,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: AdamWConfig,
}

fn ddim() -> SamplerKind {
    SamplerKind::Ddim
}

fn one() -> usize {
    1
}

/// `[vae]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRecipe {
    /// Channels at each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level.
    pub layers_per_block: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Self-attention in the middle.
    pub mid_block_add_attention: bool,
    /// Weight of the KL term, see [`crate::autoencoder::loss`].
    pub beta: f64,
    /// Steps over which β rises from 0.
    pub beta_warm_up: usize,
    /// The training.
    pub training: TrainingRecipe,
}

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
    /// The training.
    pub training: TrainingRecipe,
}

/// `[diffusion]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionRecipe {
    /// Channels at each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Levels with cross-attention, finest first.
    pub attention: Vec<bool>,
    /// Residual blocks at each level.
    pub layers_per_block: usize,
    /// Attention heads.
    pub heads: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Share of captions replaced by the empty one.
    pub caption_dropout: f64,
    /// What the network predicts: `epsilon` (the default), `v_prediction` or `sample`.
    #[serde(default)]
    pub prediction: PredictionType,
    /// Scenes whose latents are encoded once, before the training.
    pub cached_scenes: usize,
    /// The training.
    pub training: TrainingRecipe,
}

/// `[evaluation]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecipe {
    /// Held-out scenes: prompts, reconstructions.
    pub scenes: usize,
    /// The sampler.
    #[serde(default = "ddim")]
    pub sampler: SamplerKind,
    /// Steps of the sampler.
    pub steps: usize,
    /// Guidance scale; 1 is off.
    pub guidance: f64,
    /// Seed of the pictures.
    pub seed: u64,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for bad TOML, an unknown key or a missing one (with line);
    /// `Error::Config` for a value out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(path, &text)
    }

    /// [`Recipe::read`] of a text; `path` is for messages.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|e| Error::format(path, "recipe (TOML)", e))?;
        recipe.validate(path)?;
        Ok(recipe)
    }

    fn validate(&self, path: &Path) -> Result<()> {
        let check = |key: &str, holds: bool, expected: &str, got: String| match holds {
            true => Ok(()),
            false => {
                Err(Error::Config { path: path.to_owned(), key: key.into(), expected: expected.into(), got })
            }
        };
        for (part, training) in [
            ("vae", &self.vae.training),
            ("clip", &self.clip.training),
            ("diffusion", &self.diffusion.training),
        ] {
            let key = |name: &str| format!("{part}.training.{name}");
            check(&key("steps"), training.steps > 0, "at least 1", training.steps.to_string())?;
            let parts = training.parts;
            let divides = parts > 0 && training.batch_size > 0 && training.batch_size % parts == 0;
            check(
                &key("batch_size"),
                divides,
                "a multiple of `parts`",
                format!("{} in {parts}", training.batch_size),
            )?;
            let rate = training.learning_rate;
            check(&key("learning_rate"), rate > 0.0 && rate.is_finite(), "above 0", rate.to_string())?;
            check(&key("checkpoint_every"), training.checkpoint_every > 0, "at least 1", "0".into())?;
        }
        let parts = self.clip.training.parts;
        check(
            "clip.training.parts",
            parts == 1,
            "1: every pair of the batch is compared",
            parts.to_string(),
        )?;
        let dropout = self.diffusion.caption_dropout;
        check("diffusion.caption_dropout", (0.0..=1.0).contains(&dropout), "0 to 1", dropout.to_string())?;
        check(
            "diffusion.prediction",
            self.diffusion.prediction != PredictionType::Flow,
            "epsilon, v_prediction or sample: flows cannot be trained yet",
            "flow_prediction".into(),
        )?;
        check("vae.beta", self.vae.beta >= 0.0, "at least 0", self.vae.beta.to_string())?;
        let levels = self.diffusion.block_out_channels.len();
        let got = format!("{:?}", self.diffusion.attention);
        check(
            "diffusion.attention",
            self.diffusion.attention.len() == levels,
            "one entry for each level",
            got,
        )?;
        let scenes = self.evaluation.scenes;
        check("evaluation.scenes", scenes >= 2, "at least 2", scenes.to_string())?;
        check("diffusion.cached_scenes", self.diffusion.cached_scenes > 0, "at least 1", "0".into())?;
        self.vae_config().validate()?;
        let size = self.data.size as usize;
        let f = self.vae_config().downsampling();
        check(
            "data.size",
            size > 0 && size.is_multiple_of(f),
            &format!("a multiple of the VAE's {f}"),
            size.to_string(),
        )?;
        self.unet_config().validate()
    }

    /// `vae/config.json` before training; `scaling_factor` is measured later.
    pub fn vae_config(&self) -> AutoencoderConfig {
        AutoencoderConfig {
            latent_channels: self.vae.latent_channels,
            layers_per_block: self.vae.layers_per_block,
            norm_num_groups: self.vae.norm_num_groups,
            mid_block_add_attention: self.vae.mid_block_add_attention,
            sample_size: Some(self.data.size as usize),
            ..AutoencoderConfig::default()
        }
        .with_levels(self.vae.block_out_channels.clone())
    }

    /// `clip/config.json` for a tokenizer with these ids.
    pub fn clip_config(&self, vocab_size: usize, start: u32, end: u32, pad: u32) -> ClipConfig {
        let clip = &self.clip;
        ClipConfig {
            projection_dim: clip.projection_dim,
            text_config: ClipTextConfig {
                vocab_size,
                hidden_size: clip.text_width,
                intermediate_size: 4 * clip.text_width,
                projection_dim: clip.projection_dim,
                num_hidden_layers: clip.text_layers,
                num_attention_heads: clip.heads,
                max_position_embeddings: clip.max_length,
                hidden_act: HiddenAct::QuickGelu,
                bos_token_id: Some(start),
                eos_token_id: Some(end),
                pad_token_id: Some(pad),
                ..ClipTextConfig::default()
            },
            vision_config: ClipVisionConfig {
                hidden_size: clip.vision_width,
                intermediate_size: 4 * clip.vision_width,
                projection_dim: clip.projection_dim,
                num_hidden_layers: clip.vision_layers,
                num_attention_heads: clip.heads,
                image_size: self.data.size as usize,
                patch_size: clip.patch_size,
                ..ClipVisionConfig::default()
            },
            ..ClipConfig::default()
        }
    }

    /// `unet/config.json`.
    pub fn unet_config(&self) -> UnetConfig {
        let diffusion = &self.diffusion;
        let block =
            |attends: bool, with: &str, without: &str| if attends { with.into() } else { without.into() };
        UnetConfig {
            sample_size: Some(self.data.size as usize / self.vae_config().downsampling()),
            in_channels: self.vae.latent_channels,
            out_channels: self.vae.latent_channels,
            down_block_types: diffusion
                .attention
                .iter()
                .map(|&attends| block(attends, "CrossAttnDownBlock2D", "DownBlock2D"))
                .collect(),
            up_block_types: diffusion
                .attention
                .iter()
                .rev()
                .map(|&attends| block(attends, "CrossAttnUpBlock2D", "UpBlock2D"))
                .collect(),
            block_out_channels: diffusion.block_out_channels.clone(),
            layers_per_block: PerLevel::All(diffusion.layers_per_block),
            attention_head_dim: PerLevel::All(diffusion.heads),
            cross_attention_dim: self.clip.text_width,
            norm_num_groups: diffusion.norm_num_groups,
            ..UnetConfig::default()
        }
    }
}
