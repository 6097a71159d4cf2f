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
pub use noise::{Noise, NoiseSource, initial_latents};
pub use pndm::PndmSampler;
pub use settings::{Compat, SamplerSettings};
pub use transition::Transition;
pub use vp::{VpMethod, VpSampler};

use crate::diffusion::{SchedulerConfig, SigmaSpacing};
use crate::{Error, Result};

/// What a sampler asks of a network.
pub trait Denoise {
    /// The network's output (of the schedule's prediction type, after guidance) for `x_t`
    /// `[B, C, H, W]` at timestep `t`, which may lie between two of the schedule's: the same shape. An
    /// error ends the sampling.
    fn denoise(&mut self, x_t: &Tensor<4>, t: f64) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, f64) -> Result<Tensor<4>>> Denoise for F {
    fn denoise(&mut self, x_t: &Tensor<4>, t: f64) -> Result<Tensor<4>> {
        self(x_t, t)
    }
}

/// A sampler with everything decided but the pictures: the steps it takes and how.
#[derive(Debug, Clone, PartialEq)]
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
    /// for a flow's sampler on another model, or the reverse. `Error::Config` for a model that no sampler
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
        match kind {
            SamplerKind::FlowEuler | SamplerKind::FlowHeun => {
                FlowSampler::new(config, settings).map(Self::Flow)
            }
            SamplerKind::Pndm => PndmSampler::new(config, settings).map(Self::Pndm),
            SamplerKind::Ddpm | SamplerKind::Ddim | SamplerKind::Lcm => {
                VpSampler::new(config, settings).map(Self::Vp)
            }
            _ => SigmaSampler::new(config, settings).map(Self::Sigma),
        }
    }

    /// Runs the reverse process from unit noise to x₀.
    ///
    /// - `initial`: `[B, C, H, W]`, ~ N(0, I) ([`initial_latents`]).
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
        match self {
            Self::Vp(sampler) => sampler.sample(initial, noise, denoise, on_step),
            Self::Sigma(sampler) => sampler.sample(initial, noise, denoise, on_step),
            Self::Pndm(sampler) => sampler.sample(initial, denoise, on_step),
            Self::Flow(sampler) => sampler.sample(initial, denoise, on_step),
        }
    }
}

#[cfg(test)]
mod tests;
