//! Samplers in the coordinates of the schedule: x_t = √ᾱ_t·x₀ + √(1−ᾱ_t)·ε.

use burn::tensor::Tensor;

use super::run::{AfterStep, StepCount};
use super::transition::{self, Transition};
use super::{Denoise, Noise, SamplerKind, SamplerSettings, ddim, ddpm, lcm};
use crate::diffusion::{PredictionType, Rates, SchedulerConfig, VarianceType, X0Limit};
use crate::{Error, Result};

/// Which formula a step uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VpMethod {
    /// [`ddpm::step`].
    Ddpm(VarianceType),
    /// [`ddim::step`].
    Ddim {
        /// η, in [0, 1].
        eta: f64,
    },
    /// [`lcm::step`].
    Lcm {
        /// What timesteps are multiplied by in its boundary condition.
        timestep_scaling: f64,
    },
}

/// A sampler with everything decided but the pictures: the steps it takes and how.
#[derive(Debug, Clone, PartialEq)]
pub struct VpSampler {
    /// Which formula a step uses.
    pub method: VpMethod,
    /// What the network's output means.
    pub prediction_type: PredictionType,
    /// What x̂₀ may be.
    pub limit: X0Limit,
    /// The steps, from noise to clean.
    pub transitions: Vec<Transition>,
}

impl VpSampler {
    /// Over the schedule, spacing and prediction type of a model.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`], [`transition::of_run`] and [`lcm::timesteps`];
    /// `Error::Argument` for an η outside [0, 1], and for samplers of other coordinates.
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let over = |alpha_bar_end| transition::of_run(&schedule, config, settings, alpha_bar_end);
        let (method, transitions) = match settings.kind {
            // diffusers' DDPM has no `set_alpha_to_one`: its last step always ends at the clean sample.
            SamplerKind::Ddpm => (VpMethod::Ddpm(config.variance_type.unwrap_or_default()), over(1.0)?),
            SamplerKind::Ddim => {
                ddim::check_eta(settings.eta)?;
                let end = if config.set_alpha_to_one { 1.0 } else { schedule.alpha_bar(0)? };
                (VpMethod::Ddim { eta: settings.eta }, over(end)?)
            }
            SamplerKind::Lcm => {
                let original = config.option("original_inference_steps")?.unwrap_or(50);
                let timestep_scaling = config.option("timestep_scaling")?.unwrap_or(10.0);
                let grid = lcm::timesteps(settings.steps, original, schedule.num_timesteps())?;
                (VpMethod::Lcm { timestep_scaling }, transition::over(&schedule, &grid, 1.0)?)
            }
            other => {
                let expected = "one that works in the coordinates of the schedule";
                return Err(Error::argument("sampler", expected, other));
            }
        };
        Ok(Self { method, prediction_type: config.prediction_type, limit: X0Limit::of(config), transitions })
    }

    /// Runs the reverse process from x_T ~ N(0, I), `[B, C, H, W]`, to x₀.
    ///
    /// # Errors
    /// As [`super::Sampler::run`].
    pub fn sample(
        &self,
        initial: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        self.run(initial, noise, denoise, &mut StepCount(on_step))
    }

    /// From x at the first transition's noise level.
    pub(super) fn run(
        &self,
        mut x: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        let steps = self.transitions.len();
        for (i, transition) in self.transitions.iter().enumerate() {
            let output = denoise.denoise(&x, transition.start())?;
            x = self.step(x, output, transition, noise)?;
            x = after.after_step(x, transition.end(), i + 1, steps)?;
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
        let x_0 = self.limit.apply(self.prediction_type.x_0(output.clone(), x_t.clone(), &rates)?);
        match self.method {
            VpMethod::Ddpm(variance_type) => ddpm::step(x_t, x_0, transition, variance_type, noise),
            VpMethod::Ddim { eta } => {
                // As in diffusers, ε̂ stays what the network said even where x̂₀ was limited.
                let eps = self.prediction_type.eps(output, x_t, &rates)?;
                ddim::step(x_0, eps, transition, eta, noise)
            }
            VpMethod::Lcm { timestep_scaling } => lcm::step(x_t, x_0, transition, timestep_scaling, noise),
        }
    }
}
