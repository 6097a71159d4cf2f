//! Samplers in σ around a network that knows the schedule's coordinates.

use burn::tensor::Tensor;

use super::dpm2::Dpm2;
use super::dpmpp_2m::DpmPp2M;
use super::dpmpp_2s::DpmPp2S;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::grid::{self, SamplingGrid};
use super::heun::Heun;
use super::solver::{PredictX0, Solver, solve};
use super::unipc::{BType, UniPc};
use super::{Denoise, Noise, SamplerKind};
use crate::diffusion::{NoiseSchedule, PredictionType, Rates, SchedulerConfig, same_shape};
use crate::{Error, Result};

/// A solver, its noise levels, and what the network's output means.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmaSampler {
    kind: SamplerKind,
    prediction_type: PredictionType,
    /// Clamp x̂₀ to ± this.
    clip_range: Option<f64>,
    grid: SamplingGrid,
    schedule: NoiseSchedule,
}

impl SigmaSampler {
    /// `steps` steps of `kind` over the schedule and spacing of a model.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`] and [`grid::euler`]; `Error::Argument` for a schedule whose
    /// last σ is infinite, and for DDPM and DDIM, which do not work in σ.
    pub fn new(kind: SamplerKind, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let of_family = match kind {
            SamplerKind::DpmPp2S | SamplerKind::DpmPp2M | SamplerKind::DpmPp2MSde | SamplerKind::UniPc => {
                grid::dpm
            }
            _ => grid::euler,
        };
        solver(kind)?;
        let grid = of_family(&schedule, config.timestep_spacing, steps, config.steps_offset)?;
        if !grid.init_noise_sigma.is_finite() {
            let expected = "ddim or ddpm for a schedule without any signal at its end";
            return Err(Error::argument("sampler", expected, kind));
        }
        Ok(Self {
            kind,
            prediction_type: config.prediction_type,
            clip_range: config.clip_sample.then_some(config.clip_sample_range),
            grid,
            schedule,
        })
    }

    /// As [`super::Sampler::sample`].
    ///
    /// # Errors
    /// As there.
    pub fn sample(
        &self,
        initial: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        on_step: &mut dyn FnMut(usize, usize),
    ) -> Result<Tensor<4>> {
        let x = initial * self.grid.init_noise_sigma;
        let mut network = InSigma { sampler: self, network: denoise };
        solve(&mut *solver(self.kind)?, x, &self.grid.sigmas, &mut network, noise, on_step)
    }

    /// The timestep of a noise level: that of the grid, or what the schedule has for a level in between.
    fn timestep(&self, sigma: f64) -> f64 {
        let grid = self.grid.timesteps.iter().zip(&self.grid.sigmas);
        let on_grid = grid.into_iter().find(|(_, level)| **level == sigma);
        on_grid.map_or_else(|| self.schedule.timestep_of(sigma), |(t, _)| *t)
    }
}

fn solver(kind: SamplerKind) -> Result<Box<dyn Solver>> {
    Ok(match kind {
        SamplerKind::Euler => Box::new(Euler),
        SamplerKind::EulerAncestral => Box::new(EulerAncestral { eta: 1.0 }),
        SamplerKind::Heun => Box::new(Heun::default()),
        SamplerKind::Dpm2 => Box::new(Dpm2),
        SamplerKind::DpmPp2S => Box::new(DpmPp2S),
        SamplerKind::DpmPp2M => Box::new(DpmPp2M::default()),
        SamplerKind::DpmPp2MSde => Box::new(DpmPp2M::new(1.0)),
        SamplerKind::UniPc => Box::new(UniPc::new(2, BType::Bh2, true)),
        SamplerKind::Ddpm | SamplerKind::Ddim => {
            return Err(Error::argument("sampler", "one that works in sigma", kind));
        }
    })
}

/// D(x; σ) from a network's output at x_t = x/√(1+σ²), ᾱ = 1/(1+σ²).
struct InSigma<'a> {
    sampler: &'a SigmaSampler,
    network: &'a mut dyn Denoise,
}

impl PredictX0 for InSigma<'_> {
    fn x_0(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>> {
        let alpha_bar = 1.0 / (1.0 + sigma * sigma);
        let x_t = x.clone() * alpha_bar.sqrt();
        let output = self.network.denoise(&x_t, self.sampler.timestep(sigma))?;
        same_shape("network output", &x_t, &output)?;
        let x_0 = self.sampler.prediction_type.x_0(output, x_t, &Rates::new(&[alpha_bar])?)?;
        Ok(match self.sampler.clip_range {
            Some(range) => x_0.clamp(-range, range),
            None => x_0,
        })
    }
}
