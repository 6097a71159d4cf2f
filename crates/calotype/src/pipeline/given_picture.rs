//! A given picture under noise, and the network asked about it: nothing is sampled.

use std::ops::{ControlFlow, Range};

use burn::tensor::Tensor;

use super::guided::Guided;
use super::origin::Companions;
use super::origin::check_size;
use super::text_to_image::{PictureRequest, Sampling};
use crate::diffusion::edm::Preconditioning;
use crate::diffusion::forward_process::add_noise;
use crate::diffusion::guidance::Guidance;
use crate::diffusion::training_sample::FLOW_TIMESTEPS;
use crate::diffusion::{Edm, NoiseSchedule, PredictionType, Rates};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::AttentionHook;
use crate::sampler::PictureNoise;

/// Timesteps at which a given picture is looked at, unless others are asked for.
pub const LOOKS: usize = 10;
/// As many as of a model that has no table of timesteps.
const MOST_LOOKS: usize = 1000;

/// What a network is asked about given pictures.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The prompt of each picture; guidance has no part in it but for models distilled with it.
    pub requests: &'a [PictureRequest],
    /// As many timesteps as its sampler has steps; the size of the pictures, and how prompts are read.
    pub sampling: &'a Sampling,
    /// At which of the timesteps, counted from the noisiest.
    pub steps: Range<usize>,
}

/// How noisy a picture is made, the noisiest first.
enum NoiseLevels {
    /// Timesteps of the model's schedule.
    Steps(NoiseSchedule, Vec<usize>),
    /// Times of a flow, in (0, 1).
    Flow(Vec<f64>),
    /// Of an EDM model.
    Edm(Vec<Preconditioning>),
}

impl NoiseLevels {
    /// What the network is told at each.
    fn timesteps(&self) -> Vec<f64> {
        match self {
            Self::Steps(_, t) => t.iter().map(|&t| t as f64).collect(),
            Self::Flow(t) => t.iter().map(|t| t * FLOW_TIMESTEPS).collect(),
            Self::Edm(levels) => levels.iter().map(|level| level.c_noise).collect(),
        }
    }

    /// What the network is given at one of them, as in training.
    fn input(&self, step: usize, z_0: &Tensor<4>, eps: &Tensor<4>) -> Result<Tensor<4>> {
        let (z_0, eps) = (z_0.clone(), eps.clone());
        match self {
            Self::Steps(schedule, t) => add_noise(z_0, eps, &Rates::at(schedule, &[t[step]])?),
            Self::Flow(t) => add_noise(z_0, eps, &Rates::flow(&[t[step]])?),
            Self::Edm(levels) => Ok(levels[step].input(z_0 + eps * levels[step].sigma)),
        }
    }
}

impl Model {
    /// What the network is told of the noise of a given picture, at `count` levels, the noisiest first: the middles of
    /// equal parts of the schedule. Of T timesteps t = ⌊u·T⌋ with u = (k + ½)/count; of a flow 1000·u; of an EDM model
    /// ln(σ)/4, with ln σ at u between those of its least and largest σ.
    ///
    /// # Errors
    /// `Error::Argument` unless 1 ≤ `count` ≤ T; `Error::Config` for a scheduler that is not understood.
    pub fn noise_timesteps(&self, count: usize) -> Result<Vec<f64>> {
        Ok(self.noise_levels(count)?.timesteps())
    }

    fn noise_levels(&self, count: usize) -> Result<NoiseLevels> {
        let middles = |most: usize| {
            if count == 0 || count > most {
                return Err(Error::argument("steps", format!("1 to {most}"), count));
            }
            Ok((0..count).rev().map(|k| (k as f64 + 0.5) / count as f64).collect::<Vec<f64>>())
        };
        if let Some(edm) = Edm::of(&self.scheduler)? {
            let [low, high] = [edm.sigma_min.ln(), edm.sigma_max.ln()];
            let levels = middles(MOST_LOOKS)?.into_iter().map(|u| edm.at((low + u * (high - low)).exp()));
            return Ok(NoiseLevels::Edm(levels.collect::<Result<_>>()?));
        }
        if self.scheduler.prediction_type == PredictionType::Flow {
            return Ok(NoiseLevels::Flow(middles(MOST_LOOKS)?));
        }
        let schedule = self.scheduler.noise_schedule()?;
        let most = schedule.num_timesteps();
        let t = middles(most)?.into_iter().map(|u| (u * most as f64) as usize).collect();
        Ok(NoiseLevels::Steps(schedule, t))
    }

    /// Asks the network about given pictures: their latents (the means of the posteriors) are noised as in training, and
    /// one pass for the prompts is made at each chosen timestep, which `hook` sees. The noise is the same at every
    /// timestep.
    ///
    /// - `pictures`: `[B, 3, H, W]` in [−1, 1], one for each request.
    /// - `noise`: its initial numbers.
    /// - `begin`: hears of every step before it begins, counted from the noisiest of all; `Break` stops.
    ///
    /// # Errors
    /// `Error::Shape` if pictures or noise do not fit; `Error::Argument` for steps or a size out of range, a model that
    /// only inpaints, or a prompt that cannot be read; `Error::Stopped` if `begin` stops it.
    pub fn ask_about(
        &self,
        pictures: &Tensor<4>,
        asked: &Asked,
        noise: &mut dyn PictureNoise,
        hook: &dyn AttentionHook,
        begin: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        let Asked { requests, sampling, steps } = asked;
        let shape = self.latent_shape(sampling.width, sampling.height)?;
        if self.is_inpainting() {
            let expected = "a model that sees the whole picture";
            return Err(Error::argument("model", expected, "one that only inpaints"));
        }
        check_size("picture", pictures, [requests.len(), 3, sampling.height, sampling.width])?;
        let levels = self.noise_levels(sampling.sampler.steps)?;
        let timesteps = levels.timesteps();
        let z_0 = self.vae.encode_scaled(pictures.clone(), None)?;
        let eps = noise.initial(shape, &self.device)?;
        let alone = self.for_the_prompt_alone(requests);
        let sampling = &self.as_sampled(sampling)?;
        let guided = Guided::new(self, &alone, sampling, Companions::default(), Some(hook))?;
        for step in steps.clone() {
            if begin(step).is_break() {
                return Err(Error::Stopped { step: step - steps.start, steps: steps.len() });
            }
            guided.begin_step(step);
            guided.ask_for_prompts(&levels.input(step, &z_0, &eps)?, timesteps[step])?;
        }
        Ok(())
    }

    /// The same without guidance, unless that is told to the network.
    fn for_the_prompt_alone(&self, requests: &[PictureRequest]) -> Vec<PictureRequest> {
        let distilled = self.is_guidance_distilled();
        let off = Guidance::new(1.0);
        let guidance = |own: Guidance| if distilled { own } else { off };
        let alone = |own: &PictureRequest| PictureRequest {
            guidance: guidance(own.guidance),
            true_cfg: 1.0,
            ..own.clone()
        };
        requests.iter().map(alone).collect()
    }
}
