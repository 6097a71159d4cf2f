//! Text to image with classifier-free guidance.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use super::guided::Guided;
use super::origin::Origin;
use crate::autoencoder::Vae;
use crate::checkpoint::{self, Checkpoint};
use crate::data::tensors::to_images;
use crate::denoiser::{Unet, UnetConfig};
use crate::diffusion::SchedulerConfig;
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::model::ComponentKind;
use crate::nn::{AttentionHook, Component, Compute};
use crate::sampler::{Generator, Level, NoiseSource, PictureNoise, Sampler, SamplerSettings, Timestep};
use crate::text_encoder::stack::{PromptOptions, TextStack, TextTower};
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Longest side in pixels. Self-attention over a larger picture would not fit any memory.
const MAX_SIDE: usize = 8192;

/// Tokens of OpenAI's CLIP.
const OPENAI_VOCABULARY: usize = 49_408;

/// A model: everything that makes pictures from text.
pub struct TextToImage {
    /// Latent to picture.
    pub vae: Vae,
    /// The denoiser.
    pub unet: Component<Unet, UnetConfig>,
    /// Text to features.
    pub text: TextStack,
    /// Noise schedule and step grid.
    pub scheduler: SchedulerConfig,
    /// Whether an empty negative prompt has zeros for features.
    force_zeros_for_empty_prompt: bool,
    /// Decode large pictures in tiles.
    pub vae_tiling: bool,
    device: Device,
}

/// What to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the picture should show; may be empty.
    pub prompt: String,
    /// What guidance points away from; `None` for nothing in particular, which some models (SDXL) take for zeros
    /// and others for the empty text.
    pub negative_prompt: Option<String>,
    /// The same two for SDXL's second encoder, where it should read others.
    pub second_prompts: [Option<String>; 2],
    /// How closely to follow the prompt.
    pub guidance: Guidance,
    /// Number of the picture under the seed: it decides the noise.
    pub image_index: u64,
}

impl Request {
    /// Picture `image_index` of a prompt, with nothing to avoid.
    pub fn new(prompt: &str, guidance: Guidance, image_index: u64) -> Self {
        Self {
            prompt: prompt.to_owned(),
            negative_prompt: None,
            second_prompts: [None, None],
            guidance,
            image_index,
        }
    }
}

/// What SDXL is told about the picture's sizes, in pixels: (height, width), or (top, left).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sizes {
    /// Before it was resized; the picture's own where not given.
    pub original: Option<(usize, usize)>,
    /// Where it was cropped.
    pub crop: (usize, usize),
    /// After it was cropped; the picture's own where not given.
    pub target: Option<(usize, usize)>,
}

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// The steps.
    pub sampler: SamplerSettings,
    /// Seed of the noise.
    pub seed: u64,
    /// What the seed is for.
    pub generator: Generator,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// What SDXL is told of sizes.
    pub sizes: Sizes,
}

impl TextToImage {
    /// Reads a folder in diffusers' layout, or a single file in the original one; `compute` as for
    /// [`TextToImage::new`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`TextToImage::new`].
    pub fn load(path: &Path, compute: impl Into<Compute>) -> Result<Self> {
        Self::new(Checkpoint::open(path)?, compute)
    }

    /// The networks of a checkpoint. `compute`: where they run and in which arithmetic; a device alone stands for
    /// products in f32.
    ///
    /// # Errors
    /// `Error::Format`, `Error::Config`, `Error::Weights`; `Error::Shape` if the components do not fit each
    /// other.
    pub fn new(mut checkpoint: Checkpoint, compute: impl Into<Compute>) -> Result<Self> {
        let compute = &compute.into();
        let scheduler = checkpoint.scheduler_config()?;
        checkpoint.check_tokenizers()?;
        let encoders = [ComponentKind::TextEncoder, ComponentKind::TextEncoder2];
        let encoders: Vec<ComponentKind> =
            encoders.into_iter().filter(|kind| checkpoint.components.contains_key(kind)).collect();
        let mut towers = Vec::new();
        for (part, tokenizer) in encoders.into_iter().zip(checkpoint.tokenizers.clone()) {
            let encoder = checkpoint::text_encoder(checkpoint.take(part)?, compute)?;
            towers.push(TextTower { tokenizer, encoder, learned: Vec::new() });
        }
        let model = Self {
            vae: checkpoint::vae(checkpoint.take(ComponentKind::Vae)?, compute)?,
            unet: checkpoint::unet(checkpoint.take(ComponentKind::Unet)?, compute)?,
            text: TextStack { towers, options: PromptOptions::default() },
            scheduler,
            force_zeros_for_empty_prompt: checkpoint.force_zeros_for_empty_prompt,
            vae_tiling: false,
            device: compute.device.clone(),
        };
        model.check()?;
        Ok(model)
    }

    /// A model of networks that are in memory already.
    ///
    /// # Errors
    /// `Error::Shape` if they do not fit each other.
    pub fn of_networks(
        vae: Vae,
        unet: Component<Unet, UnetConfig>,
        tower: TextTower,
        scheduler: SchedulerConfig,
        device: &Device,
    ) -> Result<Self> {
        let model = Self {
            vae,
            unet,
            text: TextStack { towers: vec![tower], options: PromptOptions::default() },
            scheduler,
            force_zeros_for_empty_prompt: false,
            vae_tiling: false,
            device: device.clone(),
        };
        model.check()?;
        Ok(model)
    }

    /// Whether the components fit each other.
    fn check(&self) -> Result<()> {
        let config = &self.unet.config;
        let (text, unet) = (self.text.width(), config.cross_attention_dim);
        if text != unet {
            let expected = format!("{unet}, the U-Net's cross_attention_dim");
            return Err(Error::shape("text encoder's hidden_size", expected, text));
        }
        if (config.added_widths().is_some()) != (self.text.towers.len() == 2) {
            let got = format!("{} text encoders", self.text.towers.len());
            return Err(Error::shape(
                "U-Net's addition_embed_type",
                "text_time with two text encoders, none with one",
                got,
            ));
        }
        let latent = self.vae.latent_channels();
        if config.in_channels != latent && config.in_channels != 2 * latent + 1 {
            let expected = format!("{latent}, the VAE's latent_channels, or {} to inpaint", 2 * latent + 1);
            return Err(Error::shape("U-Net's in_channels", expected, config.in_channels));
        }
        if config.out_channels != latent {
            let expected = format!("{latent}, the VAE's latent_channels");
            return Err(Error::shape("U-Net's out_channels", expected, config.out_channels));
        }
        Ok(())
    }

    /// Guidance where nobody says: 7.5 for models with OpenAI's vocabulary, as Stable Diffusion's pipelines have it;
    /// 3 for models trained here.
    pub fn default_guidance(&self) -> f64 {
        if self.tokenizer().vocab_size() == OPENAI_VOCABULARY { 7.5 } else { 3.0 }
    }

    /// Whether no negative prompt means zeros for features.
    pub(super) fn zeros_for_no_negative(&self) -> bool {
        self.force_zeros_for_empty_prompt
    }

    /// The (first) tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.text.towers[0].tokenizer
    }

    /// Whether the U-Net takes a mask and the masked picture beside the latent.
    pub fn is_inpainting(&self) -> bool {
        self.unet.config.in_channels != self.vae.latent_channels()
    }

    /// Side in pixels of the pictures that the model was trained on.
    pub fn default_size(&self) -> usize {
        self.unet.config.sample_size.unwrap_or(64) * self.vae.downsampling()
    }

    /// `[C, h, w]` of the latents of a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// `Error::Argument` unless both are multiples of the VAE's downsampling, at least once it.
    pub fn latent_shape(&self, width: usize, height: usize) -> Result<[usize; 3]> {
        let f = self.vae.downsampling();
        for (name, value) in [("width", width), ("height", height)] {
            if value == 0 || value % f != 0 || value > MAX_SIDE {
                return Err(Error::argument(name, format!("a multiple of {f}, at most {MAX_SIDE}"), value));
            }
        }
        Ok([self.vae.latent_channels(), height / f, width / f])
    }

    /// Random numbers for a batch of requests; they start from `initial`, unit noise, where it is given.
    pub fn noise(
        &self,
        requests: &[Request],
        sampling: &Sampling,
        initial: Option<Tensor<4>>,
    ) -> NoiseSource {
        let indices: Vec<u64> = requests.iter().map(|request| request.image_index).collect();
        NoiseSource::new(sampling.generator, sampling.seed, &indices).starting_from(initial)
    }

    /// Scaled latents of a batch of requests from nothing but noise: `[B, C, h, w]`.
    ///
    /// - `initial`: unit noise of that shape; the seed's where there is none.
    ///
    /// # Errors
    /// As [`TextToImage::sample_from`].
    pub fn sample(
        &self,
        requests: &[Request],
        sampling: &Sampling,
        initial: Option<Tensor<4>>,
        hook: Option<&dyn AttentionHook>,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        let mut noise = self.noise(requests, sampling, initial);
        self.sample_from(requests, sampling, &Origin::default(), &mut noise, hook, on_step)
    }

    /// Scaled latents of a batch of requests: `[B, C, h, w]`.
    ///
    /// The second forward pass is saved where every request's guidance is off. `hook` sees the cross-attention of
    /// the *conditional* pass only.
    ///
    /// # Errors
    /// `Error::Shape` if the noise or the origin does not fit; `Error::Argument` for steps or size out of range, or
    /// a model that inpaints without a mask.
    pub fn sample_from(
        &self,
        requests: &[Request],
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
        hook: Option<&dyn AttentionHook>,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        let scheduler = self.scheduler.sampled_by(sampling.sampler.kind.class());
        let sampler = Sampler::new(&scheduler, &sampling.sampler)?;
        let prepared = self.prepare(requests.len(), sampling, origin, noise)?;
        let guided = Guided::new(self, requests, sampling, prepared.beside, hook)?;
        let mut denoise = |x_t: &Tensor<4>, at: Timestep| guided.predict(x_t, at);
        let mut after = |x: Tensor<4>, level: Level, done: usize, steps: usize| {
            on_step(done, steps);
            Ok(match &prepared.kept {
                Some(kept) => kept.put_back(x, level),
                None => x,
            })
        };
        sampler.run(prepared.start, noise, &mut denoise, &mut after)
    }

    /// Pictures from scaled latents.
    ///
    /// # Errors
    /// `Error::NonFinite` if the latents are not numbers.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Vec<RgbImage>> {
        to_images(self.vae.decode_scaled(latents, self.vae_tiling))
    }

    /// Pictures of a batch of requests.
    ///
    /// # Errors
    /// As [`TextToImage::sample`] and [`TextToImage::decode`].
    pub fn generate(&self, requests: &[Request], sampling: &Sampling) -> Result<Vec<RgbImage>> {
        self.decode(self.sample(requests, sampling, None, None, &mut |_, _| ())?)
    }

    /// The device of the networks.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
