//! Text to image with classifier-free guidance.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use super::origin::Origin;
use super::text_condition::{PromptOptions, TextCondition, TextStack, TextTower};
use crate::autoencoder::Vae;
use crate::data::tensors::to_images;
use crate::denoiser::{AddedCondition, Beside, Unet, UnetConfig};
use crate::diffusion::guidance::Guidance;
use crate::diffusion::{NoiseSchedule, SchedulerConfig};
use crate::error::{Error, Result};
use crate::formats::checkpoint::{self, Checkpoint, Component, Part};
use crate::nn::AttentionHook;
use crate::sampler::{Generator, Level, NoiseSource, PictureNoise, Sampler, SamplerSettings};
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
    /// Reads a folder in diffusers' layout, or a single file in the original one.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`TextToImage::new`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Self::new(Checkpoint::open(path)?, device)
    }

    /// The networks of a checkpoint.
    ///
    /// # Errors
    /// `Error::Format`, `Error::Config`, `Error::Weights`; `Error::Shape` if the components do not fit each
    /// other.
    pub fn new(mut checkpoint: Checkpoint, device: &Device) -> Result<Self> {
        let scheduler = checkpoint.scheduler_config()?;
        checkpoint.check_tokenizers()?;
        let encoders = [Part::TextEncoder, Part::TextEncoder2];
        let encoders: Vec<Part> =
            encoders.into_iter().filter(|part| checkpoint.parts.contains_key(part)).collect();
        let mut towers = Vec::new();
        for (part, tokenizer) in encoders.into_iter().zip(checkpoint.tokenizers.clone()) {
            let encoder = checkpoint::text_encoder(checkpoint.take(part)?, device)?;
            towers.push(TextTower { tokenizer, encoder, learned: Vec::new() });
        }
        let model = Self {
            vae: checkpoint::vae(checkpoint.take(Part::Vae)?, device)?,
            unet: checkpoint::unet(checkpoint.take(Part::Unet)?, device)?,
            text: TextStack { towers, options: PromptOptions::default() },
            scheduler,
            force_zeros_for_empty_prompt: checkpoint.force_zeros_for_empty_prompt,
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
        for (name, value) in [("--width", width), ("--height", height)] {
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
        let mut denoise = |x_t: &Tensor<4>, t: f64| guided.predict(x_t, t);
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

/// The network's output under guidance, for the requests of a batch.
struct Guided<'a> {
    model: &'a TextToImage,
    positive: TextCondition,
    /// `None` where no request has guidance.
    negative: Option<TextCondition>,
    guidance: Vec<Guidance>,
    schedule: NoiseSchedule,
    /// For each request: original size, crop, target size, in pixels.
    time_ids: Vec<Vec<f64>>,
    /// What an inpainting U-Net takes beside the latent, `[B, C + 1, h, w]`.
    beside: Option<Tensor<4>>,
    hook: Option<&'a dyn AttentionHook>,
}

impl<'a> Guided<'a> {
    fn new(
        model: &'a TextToImage,
        requests: &'a [Request],
        sampling: &Sampling,
        beside: Option<Tensor<4>>,
        hook: Option<&'a dyn AttentionHook>,
    ) -> Result<Self> {
        let texts = |of: &dyn Fn(&'a Request) -> &'a str| requests.iter().map(of).collect::<Vec<&str>>();
        let positives = [
            texts(&|request| &request.prompt),
            texts(&|request| request.second_prompts[0].as_ref().unwrap_or(&request.prompt)),
        ];
        let negatives = [
            texts(&|request| request.negative_prompt.as_deref().unwrap_or_default()),
            texts(&|request| {
                let second = request.second_prompts[1].as_ref().or(request.negative_prompt.as_ref());
                second.map_or("", String::as_str)
            }),
        ];
        let guidance: Vec<Guidance> = requests.iter().map(|request| request.guidance).collect();
        let encode =
            |[first, second]: &[Vec<&str>; 2], clip_skip| model.text.encode([first, second], clip_skip);
        let positive = encode(&positives, model.text.options.clip_skip)?;
        let unguided =
            guidance.iter().all(|guidance| guidance.scale <= 1.0) || model.unet.network.takes_guidance();
        let zeros: Vec<bool> = requests
            .iter()
            .map(|request| model.force_zeros_for_empty_prompt && request.negative_prompt.is_none())
            .collect();
        let negative = match unguided {
            true => None,
            false => Some(encode(&negatives, 0)?.with_zeros(&zeros)),
        };
        let own = (sampling.height, sampling.width);
        let Sizes { original, crop, target } = sampling.sizes;
        let sizes = [original.unwrap_or(own), crop, target.unwrap_or(own)];
        let sizes = sizes.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
        let time_ids = vec![sizes; requests.len()];
        let schedule = model.scheduler.sampled_by(sampling.sampler.kind.class()).noise_schedule()?;
        Ok(Self { model, positive, negative, guidance, schedule, time_ids, beside, hook })
    }

    fn predict(&self, x_t: &Tensor<4>, t: f64) -> Result<Tensor<4>> {
        let input = match &self.beside {
            Some(beside) => Tensor::cat(vec![x_t.clone(), beside.clone()], 1),
            None => x_t.clone(),
        };
        let scheduler = &self.model.scheduler;
        let sigma = match scheduler.class_name.is_flow() {
            true => t / (scheduler.num_train_timesteps as f64 - t),
            false => self.schedule.sigma_at(t)?,
        };
        let guided = self.guidance.iter().any(|guidance| guidance.is_on(sigma));
        let Some(negative) = self.negative.as_ref().filter(|_| guided) else {
            return self.ask(input, t, &self.positive, self.hook);
        };
        let (cond, uncond) = match (self.hook, self.positive.followed_by(negative)) {
            // Weights are read once for both; the results are the same.
            (None, Some(both)) => {
                let batch = self.guidance.len();
                let output = self.ask(input.repeat_dim(0, 2), t, &both, None)?;
                (output.clone().narrow(0, 0, batch), output.narrow(0, batch, batch))
            }
            (hook, _) => {
                (self.ask(input.clone(), t, &self.positive, hook)?, self.ask(input, t, negative, None)?)
            }
        };
        guide(cond, uncond, &self.guidance, sigma)
    }

    fn ask(
        &self,
        x: Tensor<4>,
        t: f64,
        text: &TextCondition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        let [batch, ..] = x.dims();
        let added = text.pooled.as_ref().map(|pooled| AddedCondition {
            text_embeds: pooled.clone(),
            time_ids: (0..batch).map(|i| self.time_ids[i % self.time_ids.len()].clone()).collect(),
        });
        let scales: Vec<f64> = self.guidance.iter().map(|guidance| guidance.scale).collect();
        let beside = Beside { added: added.as_ref(), guidance: Some(&scales) };
        self.model.unet.network.forward_with(x, &vec![t; batch], &text.context, beside, hook)
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
