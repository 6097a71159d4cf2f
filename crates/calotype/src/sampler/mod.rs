//! The reverse process: one file per sampler.
//!
//! A sampler knows no network. It is given a [`Denoise`] and a [`Noise`], so that it can be tested
//! against denoisers known in closed form.

pub mod ddim;
pub mod ddpm;
pub mod dpm2;
pub mod dpmpp_2m;
pub mod dpmpp_2s;
pub mod dpmpp_3m;
pub mod euler;
pub mod euler_ancestral;
pub mod flow;
pub mod from_config;
pub mod grid;
pub mod heun;
pub mod in_sigma;
pub mod kind;
pub mod lcm;
pub mod lms;
pub mod noise;
pub mod pndm;
pub mod run;
pub mod settings;
pub mod solver;
pub mod timesteps;
pub mod transition;
pub mod unipc;
pub mod vp;

use burn::tensor::Tensor;

pub use flow::FlowSampler;
pub use in_sigma::SigmaSampler;
pub use kind::SamplerKind;
pub use noise::{Generator, Noise, NoiseSource, PictureNoise};
pub use pndm::PndmSampler;
pub use run::{AfterStep, Level, Start, skipped_flux_steps, skipped_steps};
pub use settings::{Compat, SamplerSettings};
pub use transition::Transition;
pub use vp::{VpMethod, VpSampler};

use kind::Family;

use crate::diffusion::{SchedulerConfig, SigmaSpacing};
use crate::{Error, Result};

/// What a sampler asks of a network.
pub trait Denoise {
    /// The network's output (of the schedule's prediction type, after guidance) for `x_t`
    /// `[B, C, H, W]` at a timestep: the same shape. An error ends the sampling.
    fn denoise(&mut self, x_t: &Tensor<4>, at: Timestep) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, Timestep) -> Result<Tensor<4>>> Denoise for F {
    fn denoise(&mut self, x_t: &Tensor<4>, at: Timestep) -> Result<Tensor<4>> {
        self(x_t, at)
    }
}

/// Where a network is asked: a timestep of the model's, and what that timestep means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timestep {
    /// What the network is told, from 0 to T; may lie between two timesteps of the schedule. ln(σ)/4 of an EDM model.
    pub t: f64,
    /// σ, the standard deviation of the noise where the signal has unit scale: √((1−ᾱ)/ᾱ), or t/(T − t) of a flow;
    /// infinite where no signal is left.
    pub sigma: f64,
}

impl Timestep {
    /// Timestep `t` of a schedule, which has ᾱ = `alpha_bar` there.
    pub fn of_alpha_bar(t: usize, alpha_bar: f64) -> Self {
        Self { t: t as f64, sigma: ((1.0 - alpha_bar) / alpha_bar).sqrt() }
    }

    /// Timestep `t` of a flow of T = `num_timesteps`.
    pub fn of_flow(t: f64, num_timesteps: f64) -> Self {
        Self { t, sigma: t / (num_timesteps - t) }
    }
}

/// A sampler with everything decided but the pictures: the steps it takes and how.
#[derive(Debug, Clone)]
pub enum Sampler {
    /// In the coordinates of the schedule.
    Vp(VpSampler),
    /// In σ.
    Sigma(SigmaSampler),
    /// In the coordinates of the schedule, over several predictions.
    Pndm(PndmSampler),
    /// Along the velocity of a flow.
    Flow(FlowSampler),
}

impl Sampler {
    /// Over the schedule, spacing and prediction type of a model.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`]; `Error::Argument` unless 1 ≤ steps ≤ T and every timestep,
    /// `steps_offset` included, stays below T; for an η or noise levels that the sampler does not have; and
    /// for a flow's sampler on another model, or the reverse, or one that does not work in σ on an EDM. `Error::Config` for a model that no sampler
    /// here is right for.
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        from_config::require_known_model(config)?;
        let kind = settings.kind;
        if settings.eta != 0.0 && kind != SamplerKind::Ddim {
            return Err(Error::argument("eta", format!("0: {kind} has no eta"), settings.eta));
        }
        if let Some(schedule) = settings.schedule.filter(|s| *s != SigmaSpacing::Timesteps)
            && !kind.works_in_sigma()
        {
            let expected = format!("timesteps: {kind} does not work in sigma");
            return Err(Error::argument("schedule", expected, schedule));
        }
        match (kind.is_flow(), config.class_name.is_flow()) {
            (true, false) => {
                let expected = "another than those of flows: the model does not predict a velocity";
                return Err(Error::argument("sampler", expected, kind));
            }
            (false, true) => {
                let expected = "flow-euler or flow-heun: the model predicts the velocity of a flow";
                return Err(Error::argument("sampler", expected, kind));
            }
            _ => (),
        }
        if config.class_name.is_edm() && !kind.works_in_sigma() {
            let expected = "one that works in sigma: the model is an EDM, which has no timesteps";
            return Err(Error::argument("sampler", expected, kind));
        }
        match kind.family() {
            Family::Vp => VpSampler::new(config, settings).map(Self::Vp),
            Family::Sigma(..) => SigmaSampler::new(config, settings).map(Self::Sigma),
            Family::Pndm => PndmSampler::new(config, settings).map(Self::Pndm),
            Family::Flow(_) => FlowSampler::new(config, settings).map(Self::Flow),
        }
    }

    /// Runs the reverse process from unit noise to x₀.
    ///
    /// - `initial`: `[B, C, H, W]`, ~ N(0, I) ([`NoiseSource::initial`]).
    /// - `on_step`: called after every step with (steps done, steps in all).
    ///
    /// # Errors
    /// As [`Sampler::run`].
    pub fn sample(
        &self,
        initial: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        self.run(Start::Noise(initial), noise, denoise, &mut run::StepCount(on_step))
    }

    /// Runs the reverse process to x₀.
    ///
    /// # Errors
    /// Those of `noise`, `denoise` and `after`; `Error::Shape` if the output of `denoise` is not shaped as
    /// its input; `Error::Argument` if all steps are skipped.
    pub fn run(
        &self,
        start: Start,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        let (sampler, x) = match start {
            Start::Noise(unit) => (self.clone(), unit * self.init_noise_sigma()),
            Start::Picture { x_0, noise, skipped } => {
                let rest = self.clone().without_first(skipped)?;
                let x = rest.first_level().mix(&x_0, &noise);
                (rest, x)
            }
        };
        match sampler {
            Self::Vp(sampler) => sampler.run(x, noise, denoise, after),
            Self::Sigma(sampler) => sampler.run(x, noise, denoise, after),
            Self::Pndm(sampler) => sampler.run(x, denoise, after),
            Self::Flow(sampler) => sampler.run(x, denoise, after),
        }
    }

    /// What unit noise is multiplied by at the start.
    fn init_noise_sigma(&self) -> f64 {
        match self {
            Self::Sigma(sampler) => sampler.grid.init_noise_sigma,
            _ => 1.0,
        }
    }

    /// Number of steps.
    fn steps(&self) -> usize {
        match self {
            Self::Vp(sampler) => sampler.transitions.len(),
            Self::Sigma(sampler) => sampler.grid.timesteps.len(),
            Self::Pndm(sampler) => sampler.transitions.len(),
            Self::Flow(sampler) => sampler.times.len() - 1,
        }
    }

    fn without_first(mut self, skipped: usize) -> Result<Self> {
        let steps = self.steps();
        if skipped >= steps {
            return Err(Error::argument("skipped steps", format!("fewer than {steps}"), skipped));
        }
        match &mut self {
            Self::Vp(sampler) => drop(sampler.transitions.drain(..skipped)),
            Self::Sigma(sampler) => {
                sampler.grid.timesteps.drain(..skipped);
                sampler.grid.sigmas.drain(..skipped);
            }
            Self::Pndm(sampler) => drop(sampler.transitions.drain(..skipped)),
            Self::Flow(sampler) => drop(sampler.times.drain(..skipped)),
        }
        Ok(self)
    }

    /// What the first step begins at.
    fn first_level(&self) -> Level {
        match self {
            Self::Vp(sampler) => Level::of_alpha_bar(sampler.transitions[0].alpha_bar_t),
            Self::Sigma(sampler) => Level::of_sigma(sampler.grid.sigmas[0]),
            Self::Pndm(sampler) => Level::of_alpha_bar(sampler.transitions[0].alpha_bar_t),
            Self::Flow(sampler) => Level::of_flow_time(sampler.times[0]),
        }
    }
}

#[cfg(test)]
mod tests;
