//! Options that decide how a picture is sampled.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use calotype::diffusion::SigmaSpacing;
use calotype::diffusion::guidance::Guidance;
use calotype::files::safetensors;
use calotype::model::Model;
use calotype::pipeline::text_to_image::{Sampling, Sizes};
use calotype::sampler::{Compat, Generator, SamplerKind, SamplerSettings};
use calotype::text_encoder::reading::PromptOptions;
use calotype::{Error, Result};

/// Two noise levels σ, the lower first.
#[derive(Debug, Clone, Copy)]
pub struct Interval(f64, f64);

impl std::str::FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let pair = text.split_once(',').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match pair {
            Some((low, high)) if 0.0 <= low && low < high => Ok(Self(low, high)),
            _ => Err("expected two noise levels, the lower first"),
        }
    }
}

/// Options that decide how a picture is sampled.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// Steps of the sampler [default: 30]
    #[arg(long)]
    pub steps: Option<usize>,
    #[arg(long, help = sampler_help())]
    pub sampler: Option<SamplerKind>,
    /// DDIM's eta: 0 is deterministic, 1 is DDPM
    #[arg(long, default_value_t = 0.0)]
    pub eta: f64,
    #[arg(long, help = schedule_help())]
    pub schedule: Option<SigmaSpacing>,
    /// Repeat the results of another library where ours differ on purpose: diffusers
    #[arg(long, value_name = "LIBRARY")]
    pub compat: Option<Compat>,
    /// Guidance scale; 1 is off [default: 7.5 for models with OpenAI's vocabulary, 3 for others]
    #[arg(long)]
    pub guidance: Option<f64>,
    /// Keep the spread of the prediction for the prompt, against over-exposure: 0 (off) to 1
    #[arg(long, default_value_t = 0.0, value_name = "PHI")]
    pub guidance_rescale: f64,
    /// Guide only between two noise levels sigma, for instance 0.3,5
    #[arg(long, value_name = "LOW,HIGH")]
    pub guidance_interval: Option<Interval>,
    /// Seed of the noise: the same seed, the same picture [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    #[arg(long, help = rng_help(), value_name = "NAME")]
    pub rng: Option<Generator>,
    /// Width in pixels [default: the model's]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(long)]
    pub height: Option<usize>,
    /// Start from the tensor `latents` of a safetensors file (unit noise)
    #[arg(long, value_name = "FILE")]
    pub init_latents: Option<PathBuf>,
}

fn sampler_help() -> String {
    format!("Sampler: {} [default: as the model's scheduler_config.json says]", SamplerKind::names())
}

fn schedule_help() -> String {
    format!("Noise levels, for samplers in sigma: {} [default: the model's]", SigmaSpacing::names())
}

fn rng_help() -> String {
    format!(
        "What the seed is for: {}. PyTorch's give the pictures that diffusers gives [default: philox]",
        Generator::names()
    )
}

impl SamplingArgs {
    /// With the model's own values where an option was not given; `size` is the initial picture's, if there is one.
    pub fn sampling(&self, model: &Model, size: Option<(usize, usize)>) -> Result<Sampling> {
        let (width, height) = size.unwrap_or((model.default_size(), model.default_size()));
        let f = model.vae.downsampling();
        Ok(Sampling {
            sampler: SamplerSettings {
                kind: match self.sampler {
                    Some(sampler) => sampler,
                    None => SamplerKind::from_config(&model.scheduler)?,
                },
                steps: self.steps.unwrap_or(30),
                eta: self.eta,
                schedule: self.schedule,
                compat: self.compat,
            },
            seed: self.seed.unwrap_or(0),
            generator: self.rng.unwrap_or_default(),
            // A picture's size is its user's only within what the autoencoder can take.
            width: self.width.unwrap_or(width - width % f),
            height: self.height.unwrap_or(height - height % f),
            sizes: Sizes::default(),
            prompts: PromptOptions::default(),
        })
    }

    /// How closely to follow the prompt.
    pub fn guidance(&self, model: &Model) -> Result<Guidance> {
        if !(0.0..=1.0).contains(&self.guidance_rescale) {
            return Err(Error::argument("--guidance-rescale", "0 to 1", self.guidance_rescale));
        }
        let scale = self.guidance.unwrap_or_else(|| model.default_guidance());
        if !scale.is_finite() {
            return Err(Error::argument("--guidance", "a finite number (1 is off)", scale));
        }
        let interval = self.guidance_interval.map(|Interval(low, high)| (low, high));
        Ok(Guidance { scale, rescale: self.guidance_rescale, interval })
    }

    /// Unit noise from the file, if one is given, for `pictures` pictures.
    pub fn initial(&self, model: &Model, pictures: usize, sampling: &Sampling) -> Result<Option<Tensor<4>>> {
        let Some(path) = &self.init_latents else { return Ok(None) };
        let [c, h, w] = model.latent_shape(sampling.width, sampling.height)?;
        read_latents(path, [pictures, c, h, w], model).map(Some)
    }
}

fn read_latents(path: &Path, expected: [usize; 4], model: &Model) -> Result<Tensor<4>> {
    let mut tensors = safetensors::read(path)?;
    let latents = tensors
        .remove("latents")
        .ok_or_else(|| Error::format(path, "safetensors", "it has no tensor named `latents`"))?;
    if latents.shape != expected {
        return Err(Error::shape(
            format!("`latents` of {}", path.display()),
            format!("{expected:?}"),
            format!("{:?}", latents.shape),
        ));
    }
    Ok(Tensor::from_data(TensorData::new(latents.values, expected), &model.device))
}
