//! Text to image with classifier-free guidance.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::tensor::Tensor;
use image::RgbImage;

use super::guided::Guided;
use super::origin::Origin;
use super::step::{Prediction, Step};
use crate::data::tensors::to_images;
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::AttentionHook;
use crate::sampler::{
    AfterStep, Generator, Level, NoiseSource, PictureNoise, Sampler, SamplerSettings, Timestep,
};
use crate::text_encoder::reading::PromptOptions;

/// Hears how many steps are done, of how many; `Break` stops the sampling.
pub type OnStep<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

impl Model {
    /// The same with what the model itself decides: how prompts are read, and how many tokens the picture has.
    ///
    /// # Errors
    /// As [`Model::latent_shape`].
    pub(super) fn as_sampled(&self, sampling: &Sampling) -> Result<Sampling> {
        let [_, h, w] = self.latent_shape(sampling.width, sampling.height)?;
        let picture_tokens = self.denoiser.config.picture_tokens(h, w);
        Ok(Sampling {
            sampler: SamplerSettings { picture_tokens, ..sampling.sampler },
            prompts: self.text.options(sampling.prompts),
            ..sampling.clone()
        })
    }

    /// The guidance that takes a second pass, without the prompt.
    pub(super) fn classifier_free_guidance(&self, request: &PictureRequest) -> Guidance {
        if self.is_guidance_distilled() {
            Guidance { scale: request.true_cfg, ..request.guidance }
        } else {
            request.guidance
        }
    }
}

/// What one picture of a batch is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureRequest {
    /// What the picture should show; may be empty. Unless [`PromptOptions::plain`], it may change between the steps
    /// ([`schedule`](crate::text_encoder::schedule)) and be a sum
    /// ([`composition`](crate::text_encoder::composition)); steps are counted from the first that is taken.
    pub prompt: String,
    /// What guidance points away from; `None` for nothing in particular, which some models (SDXL) take for zeros
    /// and others for the empty text.
    pub negative_prompt: Option<String>,
    /// The same two for SDXL's second encoder, where it should read others.
    pub second_prompts: [Option<String>; 2],
    /// How closely to follow the prompt. A network into which guidance is distilled is told the scale, or has its own.
    pub guidance: Guidance,
    /// Scale of classifier-free guidance, away from the negative prompt, of such a network on top of its own; 1 is off.
    pub true_cfg: f64,
    /// Number of the picture under the seed: it decides the noise.
    pub image_index: u64,
}

impl PictureRequest {
    /// Picture `image_index` of a prompt, with nothing to avoid.
    pub fn new(prompt: &str, guidance: Guidance, image_index: u64) -> Self {
        Self {
            prompt: prompt.to_owned(),
            negative_prompt: None,
            second_prompts: [None, None],
            guidance,
            true_cfg: 1.0,
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
    /// How the prompts are read.
    pub prompts: PromptOptions,
}

impl Sampling {
    /// Square pictures of `side` pixels, the seed for our generator, prompts read as usual.
    pub fn new(sampler: SamplerSettings, seed: u64, side: usize) -> Self {
        Self {
            sampler,
            seed,
            generator: Generator::default(),
            width: side,
            height: side,
            sizes: Sizes::default(),
            prompts: PromptOptions::default(),
        }
    }
}

impl Model {
    /// Random numbers for a batch of requests; they start from `initial`, unit noise, where it is given.
    pub fn noise(
        &self,
        requests: &[PictureRequest],
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
    /// As [`Model::sample_from`].
    pub fn sample(
        &self,
        requests: &[PictureRequest],
        sampling: &Sampling,
        initial: Option<Tensor<4>>,
        hook: Option<&dyn AttentionHook>,
        on_step: &mut OnStep,
    ) -> Result<Tensor<4>> {
        let mut noise = self.noise(requests, sampling, initial);
        self.sample_from(requests, sampling, &Origin::default(), &mut noise, hook, on_step)
    }

    /// Scaled latents of a batch of requests: `[B, C, h, w]`.
    ///
    /// What is asked without the prompt is saved where every request's guidance is off. `hook` sees the cross-attention
    /// of the samples *with* the prompts only.
    ///
    /// # Errors
    /// `Error::Shape` if the noise or the origin does not fit; `Error::Argument` for steps or size out of range, a
    /// model that inpaints without a mask, or a prompt that cannot be read; `Error::Overflow` at the first step whose
    /// latents are not finite; `Error::Stopped` if `on_step` stops it.
    pub fn sample_from(
        &self,
        requests: &[PictureRequest],
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
        hook: Option<&dyn AttentionHook>,
        on_step: &mut OnStep,
    ) -> Result<Tensor<4>> {
        let mut heard = |x: Tensor<4>, _: Level, done: usize, steps: usize| {
            if on_step(done, steps).is_break() { Err(Error::Stopped { step: done, steps }) } else { Ok(x) }
        };
        self.sample_changed(requests, sampling, origin, noise, hook, &mut heard)
    }

    /// [`Model::sample_from`] with somebody between the steps who may change the latents.
    ///
    /// # Errors
    /// As [`Model::sample_from`]; those of `after`.
    pub fn sample_changed(
        &self,
        requests: &[PictureRequest],
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
        hook: Option<&dyn AttentionHook>,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        let mut watch = |step: Step| after.after_step(step.x, step.level, step.done, step.steps);
        self.sample_watched(requests, sampling, origin, noise, hook, &mut watch)
    }

    /// [`Model::sample_changed`] for somebody who may also ask, after each step, for what the network takes the picture
    /// for.
    ///
    /// # Errors
    /// As [`Model::sample_from`]; those of `watch`.
    pub fn sample_watched(
        &self,
        requests: &[PictureRequest],
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
        hook: Option<&dyn AttentionHook>,
        watch: &mut dyn FnMut(Step) -> Result<Tensor<4>>,
    ) -> Result<Tensor<4>> {
        let sampling = &self.as_sampled(sampling)?;
        let scheduler = self.scheduler.sampled_by(sampling.sampler.kind.class());
        let sampler = Sampler::new(&scheduler, &sampling.sampler)?;
        let prepared = self.prepare(requests.len(), sampling, origin, noise)?;
        let guided = Guided::new(self, requests, sampling, prepared.companions, hook)?;
        let last = RefCell::new(None);
        let mut denoise = |x_t: &Tensor<4>, at: Timestep| {
            let output = guided.predict(x_t, at)?;
            *last.borrow_mut() = Some(Prediction { x_t: x_t.clone(), output: output.clone(), at });
            Ok(output)
        };
        let mut between = |x: Tensor<4>, level: Level, done: usize, steps: usize| {
            require_finite(&x, done, steps)?;
            guided.begin_step(done);
            let last = last.borrow();
            let x = watch(Step { x, level, done, steps, prediction: last.as_ref(), scheduler: &scheduler })?;
            Ok(match &prepared.kept {
                Some(kept) => kept.put_back(x, level),
                None => x,
            })
        };
        sampler.run(prepared.start, noise, &mut denoise, &mut between)
    }

    /// Pictures from scaled latents, decoded in overlapping tiles if `tiled`: the memory of a large picture does not grow
    /// with it.
    ///
    /// # Errors
    /// `Error::Overflow` if the picture is not numbers.
    pub fn decode(&self, latents: Tensor<4>, tiled: bool) -> Result<Vec<RgbImage>> {
        to_images(self.vae.decode_scaled(latents, tiled))
    }

    /// Pictures of a batch of requests.
    ///
    /// # Errors
    /// As [`Model::sample_from`] and [`Model::decode`].
    pub fn generate(&self, requests: &[PictureRequest], sampling: &Sampling) -> Result<Vec<RgbImage>> {
        let on_step = &mut |_, _| ControlFlow::Continue(());
        self.decode(self.sample(requests, sampling, None, None, on_step)?, false)
    }
}

/// What comes after such latents is no picture.
fn require_finite(latents: &Tensor<4>, step: usize, steps: usize) -> Result<()> {
    let values = latents.clone().into_data().convert::<f32>();
    match values.iter::<f32>().find(|value| !value.is_finite()) {
        Some(bad) => {
            let what = format!("latents after step {step} of {steps}");
            Err(Error::Overflow { what, got: bad.to_string() })
        }
        None => Ok(()),
    }
}
