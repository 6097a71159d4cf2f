//! Text to image with classifier-free guidance.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::data::tensors::to_images;
use crate::denoiser::{Unet, UnetConfig};
use crate::diffusion::SchedulerConfig;
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::formats::diffusers_folder::{self, Component};
use crate::nn::AttentionHook;
use crate::sampler::{NoiseSource, Sampler, SamplerSettings, initial_latents};
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::text_encoder::{ClipText, ClipTextConfig};

/// Longest side in pixels. Self-attention over a larger picture would not fit any memory.
const MAX_SIDE: usize = 8192;

/// A text-to-image model: everything that a diffusers folder holds.
pub struct TextToImage {
    /// Latent to picture.
    pub vae: Component<AutoencoderKl, AutoencoderConfig>,
    /// The denoiser.
    pub unet: Component<Unet, UnetConfig>,
    /// Tokens to features.
    pub text_encoder: Component<ClipText, ClipTextConfig>,
    /// Text to tokens.
    pub tokenizer: ClipTokenizer,
    /// Noise schedule and step grid.
    pub scheduler: SchedulerConfig,
    device: Device,
}

/// What to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the picture should show; may be empty.
    pub prompt: String,
    /// What guidance points away from; empty for nothing in particular.
    pub negative_prompt: String,
    /// How closely to follow the prompt.
    pub guidance: Guidance,
    /// Number of the picture under the seed: it decides the noise.
    pub image_index: u64,
}

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// The steps.
    pub sampler: SamplerSettings,
    /// Seed of the noise.
    pub seed: u64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl TextToImage {
    /// Reads a folder in diffusers' layout.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format`, `Error::Config`, `Error::Weights`; `Error::Shape` if the
    /// components do not fit each other.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let index = folder.join("model_index.json");
        if !index.is_file() {
            return Err(Error::format(
                folder,
                "model folder",
                "it has no model_index.json: is the training complete?",
            ));
        }
        let model = Self {
            vae: diffusers_folder::load_autoencoder(&folder.join("vae"), device)?,
            unet: diffusers_folder::load_unet(&folder.join("unet"), device)?,
            text_encoder: diffusers_folder::load_text_encoder(&folder.join("text_encoder"), device)?,
            tokenizer: ClipTokenizer::load(&folder.join("tokenizer"))?,
            scheduler: SchedulerConfig::read(&folder.join("scheduler/scheduler_config.json"))?,
            device: device.clone(),
        };
        let (text, unet) = (model.text_encoder.config.hidden_size, model.unet.config.cross_attention_dim);
        if text != unet {
            return Err(Error::shape(
                "text encoder's hidden_size",
                format!("{unet}, the U-Net's cross_attention_dim"),
                text,
            ));
        }
        let (latent, channels) = (model.vae.config.latent_channels, model.unet.config.in_channels);
        if latent != channels {
            return Err(Error::shape(
                "VAE's latent_channels",
                format!("{channels}, the U-Net's in_channels"),
                latent,
            ));
        }
        Ok(model)
    }

    /// Side in pixels of the pictures that the model was trained on.
    pub fn default_size(&self) -> usize {
        self.unet.config.sample_size.unwrap_or(64) * self.vae.config.downsampling()
    }

    /// `[C, h, w]` of the latents of a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// `Error::Argument` unless both are multiples of the VAE's downsampling, at least once it.
    pub fn latent_shape(&self, width: usize, height: usize) -> Result<[usize; 3]> {
        let f = self.vae.config.downsampling();
        for (name, value) in [("--width", width), ("--height", height)] {
            if value == 0 || value % f != 0 || value > MAX_SIDE {
                return Err(Error::argument(name, format!("a multiple of {f}, at most {MAX_SIDE}"), value));
            }
        }
        Ok([self.unet.config.in_channels, height / f, width / f])
    }

    /// Token features `[B, L, width]` of texts.
    ///
    /// # Errors
    /// As [`ClipText::forward`].
    pub fn encode_text(&self, texts: &[&str]) -> Result<Tensor<3>> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| self.tokenizer.encode_padded(text).ids).collect();
        Ok(self.text_encoder.network.forward(&ids)?.last_hidden_state)
    }

    /// Unit noise that picture `image_index` of each request starts from: `[B, C, h, w]`.
    ///
    /// # Errors
    /// As [`TextToImage::latent_shape`].
    pub fn initial_latents(&self, requests: &[Request], sampling: &Sampling) -> Result<Tensor<4>> {
        let indices: Vec<u64> = requests.iter().map(|request| request.image_index).collect();
        let shape = self.latent_shape(sampling.width, sampling.height)?;
        Ok(initial_latents(sampling.seed, &indices, shape, &self.device))
    }

    /// Scaled latents of a batch of requests: `[B, C, h, w]`.
    ///
    /// The second forward pass is saved where every request's guidance is off. `hook` sees the cross-attention of the *conditional* pass only.
    ///
    /// # Errors
    /// `Error::Shape` if `initial` does not fit; `Error::Argument` for steps or size out of range;
    /// those of `on_step`.
    pub fn sample(
        &self,
        requests: &[Request],
        sampling: &Sampling,
        initial: Tensor<4>,
        hook: Option<&dyn AttentionHook>,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        let [c, h, w] = self.latent_shape(sampling.width, sampling.height)?;
        let expected = [requests.len(), c, h, w];
        if initial.dims() != expected {
            return Err(Error::shape(
                "initial latents",
                format!("{expected:?}"),
                format!("{:?}", initial.dims()),
            ));
        }
        let sampler = Sampler::new(&self.scheduler, &sampling.sampler)?;
        let indices: Vec<u64> = requests.iter().map(|request| request.image_index).collect();
        let prompts: Vec<&str> = requests.iter().map(|request| request.prompt.as_str()).collect();
        let negatives: Vec<&str> = requests.iter().map(|request| request.negative_prompt.as_str()).collect();
        let context = self.encode_text(&prompts)?;
        let unguided = requests.iter().all(|request| request.guidance.scale == 1.0);
        let negative = if unguided { None } else { Some(self.encode_text(&negatives)?) };
        let guidance: Vec<Guidance> = requests.iter().map(|request| request.guidance).collect();
        let schedule = self.scheduler.noise_schedule()?;

        let unet = &self.unet.network;
        let mut denoise = |x_t: &Tensor<4>, t: f64| -> Result<Tensor<4>> {
            let timesteps = vec![t; requests.len()];
            let cond = unet.forward(x_t.clone(), &timesteps, &context, hook)?;
            let Some(negative) = &negative else { return Ok(cond) };
            let sigma = match self.scheduler.class_name.is_flow() {
                true => t / (self.scheduler.num_train_timesteps as f64 - t),
                false => schedule.sigma_at(t)?,
            };
            if !guidance.iter().any(|guidance| guidance.is_on(sigma)) {
                return Ok(cond);
            }
            let uncond = unet.forward(x_t.clone(), &timesteps, negative, None)?;
            guide(cond, uncond, &guidance, sigma)
        };
        let mut noise = NoiseSource::new(sampling.seed, &indices);
        sampler.sample(initial, &mut noise, &mut denoise, on_step)
    }

    /// Pictures from scaled latents.
    ///
    /// # Errors
    /// `Error::NonFinite` if the latents are not numbers.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Vec<RgbImage>> {
        let config = &self.vae.config;
        let latents = latents / config.scaling_factor + config.shift_factor.unwrap_or(0.0);
        to_images(self.vae.network.decode(latents))
    }

    /// Pictures of a batch of requests.
    ///
    /// # Errors
    /// As [`TextToImage::sample`] and [`TextToImage::decode`].
    pub fn generate(&self, requests: &[Request], sampling: &Sampling) -> Result<Vec<RgbImage>> {
        let initial = self.initial_latents(requests, sampling)?;
        self.decode(self.sample(requests, sampling, initial, None, &mut |_, _| ())?)
    }

    /// The device of the networks.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// The guided predictions of a batch, each picture with its own guidance.
fn guide(cond: Tensor<4>, uncond: Tensor<4>, guidance: &[Guidance], sigma: f64) -> Result<Tensor<4>> {
    let first = guidance[0];
    if guidance.iter().all(|guidance| *guidance == first) {
        return first.apply(cond, uncond, sigma);
    }
    let each = (guidance.iter().enumerate())
        .map(|(i, guidance)| {
            guidance.apply(cond.clone().narrow(0, i, 1), uncond.clone().narrow(0, i, 1), sigma)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(each, 0))
}
