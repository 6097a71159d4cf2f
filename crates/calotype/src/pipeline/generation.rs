//! A request made ready for a model, and its pictures.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Tensor;
use image::{DynamicImage, GrayImage, RgbImage};

use super::latents;
use super::origin::Origin;
use super::request::{Request, SigmaInterval};
use super::script;
use super::text_to_image::{PictureRequest, Sampling, Sizes};
use super::warnings;
use crate::data::picture;
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::model::Model;
use crate::parallel::in_parallel;
use crate::progress::Progress;
use crate::sampler::{SamplerKind, SamplerSettings};

/// Pictures sampled at a time; they do not depend on it.
const BATCH: usize = 4;

/// A request with nothing left open.
#[derive(Debug, Clone)]
pub struct Generation {
    /// As asked, with the model's own values filled in.
    pub request: Request,
    /// What each picture is asked for.
    pub pictures: Vec<PictureRequest>,
    /// How they are sampled.
    pub sampling: Sampling,
    /// What they are made from beside noise.
    pub origin: Origin,
    /// Unit noise to start from, `[pictures, C, h, w]`; the seed's where there is none.
    pub initial: Option<Tensor<4>>,
    /// What has no effect, or another than its author may expect: each in a sentence, names of settings in backticks.
    pub warnings: Vec<String>,
}

/// The pictures that a request begins with or follows, of any size: what its files hold, or what a server was sent.
#[derive(Debug, Clone, Default)]
pub struct GivenPictures {
    /// To begin with.
    pub init: Option<RgbImage>,
    /// Its part that is painted, white; needs a picture to begin with.
    pub mask: Option<GrayImage>,
    /// That the network is shown.
    pub reference: Option<RgbImage>,
}

impl Request {
    /// Makes the request ready for `count` pictures of its model: fills in the model's own values, reads its pictures
    /// and latents.
    ///
    /// # Errors
    /// As [`Request::prepare_given`] and [`picture::load`].
    pub fn prepare(&self, model: &Model, count: usize) -> Result<Generation> {
        self.require_sense(self.init_image.is_some(), self.mask.is_some())?;
        // What is transparent is not painted: black.
        let mask = self.mask.as_deref().map(|path| picture::load_over(path, [0; 3])).transpose()?;
        let given = GivenPictures {
            init: self.init_image.as_deref().map(picture::load).transpose()?,
            mask: mask.map(|mask| DynamicImage::ImageRgb8(mask).to_luma8()),
            reference: self.reference.as_deref().map(picture::load).transpose()?,
        };
        self.prepare_given(model, count, &given)
    }

    /// [`Request::prepare`] with pictures that are in memory; those that the request names are not read.
    ///
    /// # Errors
    /// `Error::Argument` for a value out of range or without effect; as [`latents::read`] and [`Origin::new`].
    pub fn prepare_given(&self, model: &Model, count: usize, given: &GivenPictures) -> Result<Generation> {
        self.require_sense(given.init.is_some(), given.mask.is_some())?;
        let size = |picture: &RgbImage| (picture.width() as usize, picture.height() as usize);
        let of_reference =
            || given.reference.as_ref().map(|picture| model.reference_size(picture, size(picture)));
        let sampling = self.sampling(model, given.init.as_ref().map(size).or_else(of_reference))?;
        let strength = self.filled_strength(model, given);
        let mut origin = origin(given, strength, &sampling, model)?;
        if let Some(reference) = &given.reference {
            let size = model.reference_size(reference, (sampling.width, sampling.height));
            origin = origin.with_reference(reference, size, &model.device)?;
        }
        let (guidance, true_cfg) = (self.guidance(model)?, self.true_cfg(model)?);
        let end = self.first.checked_add(count as u64).ok_or_else(|| {
            Error::argument("first", format!("at most {}", u64::MAX - count as u64), self.first)
        })?;
        let prompt = self.prompt_without_loras();
        let picture_request = |i| {
            let request = PictureRequest::new(&prompt, guidance, i);
            PictureRequest { negative_prompt: self.negative.clone(), true_cfg, ..request }
        };
        let initial = self.initial(model, count, &sampling)?;
        let mut warnings = warnings::of(&picture_request(self.first), &sampling, &origin, model)?;
        warnings.extend(warnings::about_reading(self, model));
        Ok(Generation {
            request: self.filled(&sampling, guidance.scale, strength),
            pictures: (self.first..end).map(picture_request).collect(),
            sampling,
            origin,
            initial,
            warnings,
        })
    }

    /// Refuses what would be silently without effect.
    fn require_sense(&self, begins_with_picture: bool, has_mask: bool) -> Result<()> {
        let needs_picture = [("strength", self.strength.is_some()), ("mask", has_mask)];
        match needs_picture.into_iter().find(|(_, given)| *given && !begins_with_picture) {
            Some((name, _)) => Err(Error::argument(name, "an initial picture beside it", "none")),
            None => Ok(()),
        }
    }

    /// `size`: width and height of the picture that it begins with or follows. Refuses a size that the model cannot take,
    /// before a picture is resized to it.
    fn sampling(&self, model: &Model, size: Option<(usize, usize)>) -> Result<Sampling> {
        let (width, height) = size.unwrap_or((model.default_size(), model.default_size()));
        let multiple = model.side_multiple();
        // A picture's size is its user's only within what the networks can take.
        let own = |side: usize| side - side % multiple;
        let (width, height) = (self.width.unwrap_or(own(width)), self.height.unwrap_or(own(height)));
        model.as_sampled(&Sampling {
            sampler: SamplerSettings {
                kind: self.sampler.map_or_else(|| SamplerKind::from_config(&model.scheduler), Ok)?,
                steps: self.steps.unwrap_or_else(|| model.default_steps()),
                eta: self.eta,
                schedule: self.schedule,
                compat: self.compat,
                picture_tokens: None,
            },
            seed: self.seed.unwrap_or(0),
            generator: self.rng.unwrap_or_default(),
            width,
            height,
            sizes: Sizes::default(),
            prompts: self.prompts(),
        })
    }

    fn guidance(&self, model: &Model) -> Result<Guidance> {
        let (scale, rescale) =
            (self.guidance.unwrap_or_else(|| model.default_guidance()), self.guidance_rescale);
        if !(0.0..=1.0).contains(&rescale) {
            return Err(Error::argument("guidance_rescale", "0 to 1", rescale));
        }
        if !scale.is_finite() {
            return Err(Error::argument("guidance", "a finite number (1 is off)", scale));
        }
        let interval = self.guidance_interval.map(|SigmaInterval { low, high }| (low, high));
        Ok(Guidance { scale, rescale, interval })
    }

    /// Scale of the guidance on top of a network's own; 1 is off.
    fn true_cfg(&self, model: &Model) -> Result<f64> {
        let Some(scale) = self.true_cfg else { return Ok(1.0) };
        if !model.is_guidance_distilled() {
            let expected = "a model into which guidance is distilled, such as Flux: `guidance` is this one's";
            return Err(Error::argument("true-cfg", expected, scale));
        }
        if !scale.is_finite() {
            return Err(Error::argument("true-cfg", "a finite number (1 is off)", scale));
        }
        if scale > 1.0 && self.negative.is_none() {
            return Err(Error::argument("true-cfg", "a negative prompt beside it; it may be empty", "none"));
        }
        Ok(scale)
    }

    /// The strength, where there is an initial picture.
    fn filled_strength(&self, model: &Model, given: &GivenPictures) -> Option<f64> {
        let usual = if given.mask.is_some() { 1.0 } else { model.default_strength() };
        given.init.as_ref().map(|_| self.strength.unwrap_or(usual))
    }

    /// Unit noise from the file, if one is given.
    fn initial(&self, model: &Model, count: usize, sampling: &Sampling) -> Result<Option<Tensor<4>>> {
        let Some(path) = &self.init_latents else { return Ok(None) };
        let [c, h, w] = model.latent_shape(sampling.width, sampling.height)?;
        latents::read(path, [count, c, h, w], &model.device).map(Some)
    }

    /// The same with every value that was decided for it.
    fn filled(&self, sampling: &Sampling, guidance: f64, strength: Option<f64>) -> Self {
        Self {
            seed: Some(sampling.seed),
            rng: Some(sampling.generator),
            steps: Some(sampling.sampler.steps),
            sampler: Some(sampling.sampler.kind),
            guidance: Some(guidance),
            width: Some(sampling.width),
            height: Some(sampling.height),
            strength,
            ..self.clone()
        }
    }
}

/// What the pictures are made from beside noise; `strength` where there is a picture to begin with.
fn origin(
    given: &GivenPictures,
    strength: Option<f64>,
    sampling: &Sampling,
    model: &Model,
) -> Result<Origin> {
    let (Some(picture), Some(strength)) = (&given.init, strength) else {
        return Ok(Origin::default());
    };
    let size = (sampling.width, sampling.height);
    Origin::new(picture, strength, given.mask.as_ref(), size, &model.device)
}

impl Generation {
    /// Reads the prompts ahead and drops the text encoder from the model where it is a T5, which would take more memory than
    /// all else: the model knows no other texts from here on.
    ///
    /// # Errors
    /// Those of reading the prompts; `Error::Argument` and `Error::Config` where size, sampler or pictures do not fit the
    /// model.
    pub fn read_prompts_and_drop_t5(&self, model: &mut Model) -> Result<()> {
        // Before a large text encoder takes its time.
        model.require(&self.sampling, &self.origin)?;
        let texts = script::all_texts(&self.pictures, &self.sampling, model)?;
        let Some(t5) = &mut model.text.t5 else { return Ok(()) };
        t5.keep_only(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Scaled latents of all pictures, `[pictures, C, h, w]`: batches side by side, on the machine's threads.
    ///
    /// # Errors
    /// As [`Model::sample_from`]; `Error::Stopped` if the machine's progress is interrupted.
    pub fn sample(&self, model: &Model, machine: Machine) -> Result<Tensor<4>> {
        let progress = machine.progress;
        progress.begin("sampling", 0, self.pictures.len() * self.sampling.sampler.steps);
        let done = AtomicUsize::new(0);
        let batches: Vec<(usize, &[PictureRequest])> = self.pictures.chunks(BATCH).enumerate().collect();
        let latents = in_parallel(batches, machine.threads, |(batch, pictures)| {
            let part = |initial: &Tensor<4>| initial.clone().narrow(0, batch * BATCH, pictures.len());
            let initial = self.initial.as_ref().map(part);
            let mut on_step = |_: usize, _: usize| {
                progress.step(done.fetch_add(pictures.len(), Ordering::Relaxed) + pictures.len(), "");
                if progress.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let mut noise = model.noise(pictures, &self.sampling, initial);
            model.sample_from(pictures, &self.sampling, &self.origin, &mut noise, None, &mut on_step)
        })?;
        progress.end("sampling");
        Ok(Tensor::cat(latents, 0))
    }

    /// Pictures of the latents, decoded as asked, one after the other.
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn decode(
        &self,
        model: &Model,
        latents: Tensor<4>,
        progress: &dyn Progress,
    ) -> Result<Vec<RgbImage>> {
        let count = latents.dims()[0];
        progress.begin("decoding", 0, count);
        let mut images = Vec::new();
        for i in 0..count {
            images.extend(model.decode(latents.clone().narrow(0, i, 1), self.request.vae_tiling)?);
            progress.step(i + 1, "");
        }
        progress.end("decoding");
        Ok(images)
    }
}
