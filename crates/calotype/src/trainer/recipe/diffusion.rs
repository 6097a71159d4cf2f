//! `[diffusion]`: the denoiser, what it predicts and how its errors count.

use serde::{Deserialize, Serialize};

use super::{Check, DataRecipe, DenoiserName, FluxRecipe, GroundingRecipe, LayoutFirst, TrainingRecipe};
use crate::denoiser::unet::block_types::{DownBlockType, UpBlockType};
use crate::denoiser::unet::config::PerLevel;
use crate::denoiser::{DenoiserConfig, UnetConfig};
use crate::diffusion::{LossWeight, PredictionType};
use crate::error::Result;

/// `[diffusion]`. The shape of the network is that of the recipe's `model`, if it names one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionRecipe {
    /// The network, where there is no `model`.
    #[serde(default, skip_serializing_if = "is_unet")]
    pub denoiser: DenoiserName,
    /// The shape of a Flux transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<FluxRecipe>,
    /// Channels at each level, finest first.
    #[serde(default)]
    pub block_out_channels: Vec<usize>,
    /// Levels with cross-attention, finest first.
    #[serde(default)]
    pub attention: Vec<bool>,
    /// Residual blocks at each level.
    #[serde(default = "super::one")]
    pub layers_per_block: usize,
    /// Attention heads.
    #[serde(default = "super::four")]
    pub heads: usize,
    /// Groups of the group norms.
    #[serde(default = "super::eight")]
    pub norm_num_groups: usize,
    /// Share of captions replaced by the empty one.
    pub caption_dropout: f64,
    /// What the network predicts: `epsilon`, `v_prediction`, `sample` or `flow_prediction`. If left out it is what
    /// the `model` says, or `epsilon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionType>,
    /// γ of min-SNR: the loss of a timestep counts at most as its signal-to-noise ratio γ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_snr_gamma: Option<f64>,
    /// P2: the error of ε counts 1/(k + SNR)^γ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2: Option<P2Recipe>,
    /// Strength of noise that moves whole channels; 0 is off, 0.1 is usual.
    #[serde(default)]
    pub noise_offset: f64,
    /// Whether the last timestep holds no signal at all.
    #[serde(default)]
    pub zero_terminal_snr: bool,
    /// How a flow's times are drawn.
    #[serde(default)]
    pub flow_times: FlowTimes,
    /// EDM's preconditioning, and how its noise levels are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edm: Option<EdmRecipe>,
    /// Embedded scenes that are seen, again and again; none: new ones without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_scenes: Option<usize>,
    /// Whether each picture is encoded once, before the training, and its latents kept on the disk.
    #[serde(default = "yes")]
    pub cache_latents: bool,
    /// Whether the features of each caption are computed once and kept too; off: in every step.
    #[serde(default)]
    pub cache_text: bool,
    /// Computes the activations of each level again in the backward pass, in place of keeping them: less memory,
    /// about a third more time.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// More noisy timesteps than others, where it is above 1: u ↦ s·u/(1 + (s − 1)·u).
    #[serde(default = "none")]
    pub timestep_shift: f64,
    /// Teaches the attention of nouns where their objects are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grounding: Option<GroundingRecipe>,
    /// What is different in the first steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout_first: Option<LayoutFirst>,
    /// Whether the text encoder is trained with the denoiser. CLIP's own stays in `clip/`.
    #[serde(default)]
    pub train_text_encoder: bool,
    /// Peak learning rate of the text encoder; the rest of its schedule is the denoiser's. If left out it is the
    /// denoiser's too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_learning_rate: Option<f64>,
    /// Whether the denoiser reads one vector of the whole caption, the feature of its end, and not one for each token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pooled_text: bool,
    /// The guidance scale that a `model` is told that was distilled with guidance.
    #[serde(default = "usual_guidance", skip_serializing_if = "is_usual_guidance")]
    pub guidance: f64,
    /// Trains a low-rank change in place of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// Validation pictures whose objects are known that the words' maps are scored on at every validation; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub localisation: usize,
    /// Pictures of these prompts are made at every validation.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// The training.
    pub training: TrainingRecipe,
}

/// `[diffusion.p2]`. Choi et al. 2022, arXiv:2204.00227, Eq. 8.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct P2Recipe {
    /// k: the weight of pure noise is k^−γ.
    pub k: f64,
    /// γ: how much less detail counts.
    pub gamma: f64,
}

impl Default for P2Recipe {
    fn default() -> Self {
        Self { k: 1.0, gamma: 1.0 }
    }
}

/// `[diffusion.flow_times]`: t = 1/(1 + e^−z) with z ~ N(mean, std²), then shifted. Esser et al. 2024,
/// arXiv:2403.03206, Eqs. 19 and 23.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowTimes {
    /// Mean of z.
    pub mean: f64,
    /// Standard deviation of z.
    pub std: f64,
    /// 1 is none; 3 is usual for pictures of a megapixel. If left out it is what the `model` says, or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
}

impl Default for FlowTimes {
    fn default() -> Self {
        Self { mean: 0.0, std: 1.0, shift: None }
    }
}

/// `[diffusion.edm]`. Karras et al. 2022, arXiv:2206.00364, Table 1: [`crate::diffusion::edm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdmRecipe {
    /// σ_d, the standard deviation of the latents. If left out it is what the `model` says, or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_data: Option<f64>,
    /// Mean of ln σ. If left out it is −1.2 + ln(σ_d/0.5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation of ln σ.
    pub std: f64,
}

impl Default for EdmRecipe {
    fn default() -> Self {
        Self { sigma_data: None, mean: None, std: 1.2 }
    }
}

/// `[diffusion.lora]`. Hu et al. 2021, arXiv:2106.09685.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraRecipe {
    /// Rank of the change.
    pub rank: usize,
    /// The change counts α/rank.
    pub alpha: f64,
    /// Layers of the U-Net's attention that change.
    pub unet: Vec<String>,
    /// Layers of the text encoder that change; none: it stays as it is.
    pub text_encoder: Vec<String>,
}

impl Default for LoraRecipe {
    fn default() -> Self {
        let names = ["to_q", "to_k", "to_v", "to_out.0"];
        Self { rank: 8, alpha: 8.0, unet: names.map(str::to_owned).to_vec(), text_encoder: vec![] }
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn yes() -> bool {
    true
}

fn is_unet(name: &DenoiserName) -> bool {
    *name == DenoiserName::Unet
}

/// That of diffusers' training of Flux.
fn usual_guidance() -> f64 {
    3.5
}

fn is_usual_guidance(scale: &f64) -> bool {
    *scale == usual_guidance()
}

/// A shift that is none.
fn none() -> f64 {
    1.0
}

impl DiffusionRecipe {
    pub(super) fn validate(&self, check: &Check, scratch: bool, data: &DataRecipe) -> Result<()> {
        let dropout = self.caption_dropout;
        check.that((0.0..=1.0).contains(&dropout), "caption_dropout", "0 to 1", dropout)?;
        check.that(self.cached_scenes != Some(0), "cached_scenes", "at least 1", 0)?;
        if let Some(gamma) = self.min_snr_gamma {
            check.that(gamma > 0.0 && gamma.is_finite(), "min_snr_gamma", "above 0", gamma)?;
        }
        if let Some(P2Recipe { k, gamma }) = self.p2 {
            check.that(k > 0.0 && k.is_finite(), "p2.k", "above 0", k)?;
            check.that(gamma >= 0.0 && gamma.is_finite(), "p2.gamma", "at least 0", gamma)?;
            let only = self.min_snr_gamma.is_none();
            check.that(only, "p2", "no `min_snr_gamma`: each says how much a timestep counts", "both")?;
        }
        let offset = self.noise_offset;
        check.that(offset >= 0.0 && offset.is_finite(), "noise_offset", "at least 0", offset)?;
        let blind = self.zero_terminal_snr && self.prediction == Some(PredictionType::Epsilon);
        check.that(
            !blind,
            "prediction",
            "not epsilon with `zero_terminal_snr`: all noise says nothing of it",
            "epsilon",
        )?;
        let flow = self.flow_times;
        let shifted = flow.std > 0.0 && flow.shift.is_none_or(|shift| shift > 0.0) && flow.mean.is_finite();
        check.that(shifted, "flow_times", "`std` and `shift` above 0", format!("{flow:?}"))?;
        if let Some(edm) = &self.edm {
            let sigma_data = edm.sigma_data.unwrap_or(1.0);
            let positive = |x: f64| x > 0.0 && x.is_finite();
            check.that(positive(sigma_data), "edm.sigma_data", "a finite number above 0", sigma_data)?;
            check.that(positive(edm.std), "edm.std", "a finite number above 0", edm.std)?;
            let mean = edm.mean.unwrap_or(0.0);
            check.that(mean.is_finite(), "edm.mean", "a finite number", mean)?;
            check.that(self.lora.is_none(), "edm", "no `lora`: its file cannot say it", "both")?;
            if let Some(key) = self.key_of_timesteps() {
                return check.that(false, key, "nothing with `edm`, which has no timesteps", "a value");
            }
        }
        if self.cache_latents {
            check.that(data.is_repeatable(), "cache_latents", "false with random crops", true)?;
        }
        self.validate_layout(check)?;
        if let Some(rate) = self.text_learning_rate {
            let expected = "nothing without `train_text_encoder`";
            check.that(self.train_text_encoder, "text_learning_rate", expected, rate)?;
            check.that(rate > 0.0 && rate.is_finite(), "text_learning_rate", "above 0", rate)?;
        }
        if self.train_text_encoder {
            check.that(!self.cache_text, "cache_text", "false while the text encoder is trained", true)?;
            let lora = "false with `lora`, which names the layers of the text encoder that it changes";
            check.that(self.lora.is_none(), "train_text_encoder", lora, true)?;
        }
        if self.pooled_text {
            let trained = "false without `train_text_encoder`, which writes a text encoder that says so";
            check.that(self.train_text_encoder, "pooled_text", trained, true)?;
            let read = "nothing with `pooled_text`: every token says the same";
            check.that(self.grounding.is_none(), "grounding", read, "a table")?;
        }
        if let Some(lora) = &self.lora {
            let schedule = self.prediction.is_none() && !self.zero_terminal_snr && flow.shift.is_none();
            let expected =
                "no `prediction`, `zero_terminal_snr` or `flow_times.shift`: its file cannot say them";
            check.that(schedule, "lora", expected, "one of them")?;
            check.that(lora.rank > 0, "lora.rank", "at least 1", 0)?;
            check.that(lora.alpha > 0.0 && lora.alpha.is_finite(), "lora.alpha", "above 0", lora.alpha)?;
            let some = !lora.unet.is_empty() || !lora.text_encoder.is_empty();
            check.that(some, "lora.unet", "at least one layer to change", "none")?;
            let features = lora.text_encoder.is_empty() || !self.cache_text;
            check.that(features, "cache_text", "false while the text encoder is trained", true)?;
        }
        check.that(self.guidance.is_finite(), "guidance", "a finite number", self.guidance)?;
        if !scratch {
            let shape = "nothing beside a `model`, which has a shape of its own";
            check.that(self.flux.is_none(), "flux", shape, "a table")?;
            let own = "nothing beside a `model`, which is a network of its own";
            return check.that(self.denoiser == DenoiserName::Unet, "denoiser", own, self.denoiser);
        }
        self.validate_denoiser(check)?;
        check.that(self.lora.is_none(), "lora", "a `model` that it changes", "no `model`")
    }

    /// A key that is there and means nothing where there are no timesteps.
    pub(crate) fn key_of_timesteps(&self) -> Option<&'static str> {
        [
            ("prediction", self.prediction.is_some()),
            ("min_snr_gamma", self.min_snr_gamma.is_some()),
            ("p2", self.p2.is_some()),
            ("zero_terminal_snr", self.zero_terminal_snr),
            ("timestep_shift", self.timestep_shift != 1.0),
            ("grounding", self.grounding.is_some()),
        ]
        .into_iter()
        .find_map(|(key, there)| there.then_some(key))
    }

    /// How much each timestep counts.
    pub fn loss_weight(&self) -> LossWeight {
        match (self.min_snr_gamma, self.p2) {
            (Some(gamma), _) => LossWeight::MinSnr { gamma },
            (None, Some(P2Recipe { k, gamma })) => LossWeight::P2 { k, gamma },
            (None, None) => LossWeight::Uniform,
        }
    }

    /// The same without what does not decide the weights.
    pub(crate) fn identity(&self) -> Self {
        let mut training = self.training.identity();
        if self.layout_first.is_some() {
            // Its share is one of all steps.
            training.steps = self.training.steps;
        }
        let (prompts, localisation) = (vec![], 0);
        Self { prompts, localisation, cache_latents: false, cache_text: false, training, ..self.clone() }
    }

    /// The denoiser for latents `[latent_channels, latent_side, latent_side]` and text features of this width.
    pub fn denoiser_config(
        &self,
        latent_channels: usize,
        latent_side: usize,
        text_width: usize,
    ) -> DenoiserConfig {
        if self.denoiser == DenoiserName::Flux {
            let flux = self.flux.unwrap_or_default();
            return DenoiserConfig::Flux(flux.config(latent_channels, latent_side, text_width));
        }
        DenoiserConfig::Unet(UnetConfig {
            sample_size: Some(latent_side),
            in_channels: latent_channels,
            out_channels: latent_channels,
            down_block_types: self.attention.iter().copied().map(DownBlockType::new).collect(),
            up_block_types: self.attention.iter().rev().copied().map(UpBlockType::new).collect(),
            block_out_channels: self.block_out_channels.clone(),
            layers_per_block: PerLevel::All(self.layers_per_block),
            attention_head_dim: PerLevel::All(self.heads),
            cross_attention_dim: text_width,
            norm_num_groups: self.norm_num_groups,
            ..UnetConfig::default()
        })
    }
}
