//! Samplers in the coordinates of the schedule: x_t = √ᾱ_t·x₀ + √(1−ᾱ_t)·ε.

use burn::tensor::Tensor;

use super::timesteps::{GridRule, timesteps};
use super::transition::{self, Transition};
use super::{Denoise, Noise, ddim, ddpm};
use crate::diffusion::{PredictionType, Rates, SchedulerConfig, VarianceType};
use crate::{Error, Result};

/// Which formula a step uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VpMethod {
    /// [`ddpm::step`].
    Ddpm,
    /// [`ddim::step`].
    Ddim,
}

/// A sampler with everything decided but the pictures: the steps it takes and how.
#[derive(Debug, Clone, PartialEq)]
pub struct VpSampler {
    /// Which formula a step uses.
    pub method: VpMethod,
    /// What the network's output means.
    pub prediction_type: PredictionType,
    /// Clamp x̂₀ to ± this.
    pub clip_range: Option<f64>,
    /// DDPM's variance.
    pub variance_type: VarianceType,
    /// DDIM's η, in [0, 1].
    pub eta: f64,
    /// The steps, from noise to clean.
    pub transitions: Vec<Transition>,
}

impl VpSampler {
    /// `steps` steps of `method` over the schedule, spacing and prediction type of a model; η = 0.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`]; `Error::Argument` unless 1 ≤ `steps` ≤ T and every
    /// timestep, `steps_offset` included, stays below T.
    pub fn new(method: VpMethod, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let (spacing, offset) = (config.timestep_spacing, config.steps_offset);
        let num_timesteps = schedule.num_timesteps();
        let timesteps = timesteps(spacing, GridRule::Ddim, steps, num_timesteps, offset)?;
        if timesteps[0] >= num_timesteps {
            return Err(Error::argument(
                "steps",
                format!(
                    "fewer: {spacing:?} spacing with steps_offset {offset} starts beyond T = {num_timesteps}"
                ),
                steps,
            ));
        }
        // diffusers' DDPM has no `set_alpha_to_one`: its last step always ends at the clean sample.
        let alpha_bar_end = match method {
            VpMethod::Ddim if !config.set_alpha_to_one => schedule.alpha_bar(0)?,
            VpMethod::Ddim | VpMethod::Ddpm => 1.0,
        };
        Ok(Self {
            method,
            prediction_type: config.prediction_type,
            clip_range: config.clip_sample.then_some(config.clip_sample_range),
            variance_type: config.variance_type.unwrap_or_default(),
            eta: 0.0,
            transitions: transition::over(&schedule, &timesteps, alpha_bar_end)?,
        })
    }

    /// The same with DDIM's η.
    ///
    /// # Errors
    /// `Error::Argument` if η is outside [0, 1], or not 0 for another sampler than DDIM.
    pub fn with_eta(self, eta: f64) -> Result<Self> {
        ddim::check_eta(eta)?;
        if self.method != VpMethod::Ddim && eta != 0.0 {
            return Err(Error::argument("eta", "0: only ddim has an eta", eta));
        }
        Ok(Self { eta, ..self })
    }

    /// Runs the reverse process from `initial` to x₀.
    ///
    /// - `initial`: x_T, `[B, C, H, W]`, ~ N(0, I) ([`super::initial_latents`]).
    /// - `on_step`: called after every step with (steps done, steps in all).
    ///
    /// # Errors
    /// Those of `noise` and `denoise`; `Error::Shape` if the output of `denoise` is not shaped as
    /// its input.
    pub fn sample(
        &self,
        initial: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        let mut x = initial;
        for (i, transition) in self.transitions.iter().enumerate() {
            let output = denoise.denoise(&x, transition.t as f64)?;
            x = self.step(x, output, transition, noise)?;
            on_step(i + 1, self.transitions.len());
        }
        Ok(x)
    }

    /// One step, given the network's output at x_t.
    fn step(
        &self,
        x_t: Tensor<4>,
        output: Tensor<4>,
        transition: &Transition,
        noise: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let rates = Rates::new(&[transition.alpha_bar_t])?;
        let mut x_0 = self.prediction_type.x_0(output.clone(), x_t.clone(), &rates)?;
        if let Some(range) = self.clip_range {
            x_0 = x_0.clamp(-range, range);
        }
        match self.method {
            VpMethod::Ddpm => ddpm::step(x_t, x_0, transition, self.variance_type, noise),
            VpMethod::Ddim => {
                // As in diffusers, ε̂ stays what the network said even where x̂₀ was clamped.
                let eps = self.prediction_type.eps(output, x_t, &rates)?;
                ddim::step(x_0, eps, transition, self.eta, noise)
            }
        }
    }
}
