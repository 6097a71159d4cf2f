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
use crate::diffusion::{PredictionType, Rates, SchedulerConfig, same_shape};
use crate::{Error, Result};

/// A solver, its noise levels, and what the network's output means.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmaSampler {
    kind: SamplerKind,
    prediction_type: PredictionType,
    /// Clamp x̂₀ to ± this.
    clip_range: Option<f64>,
    grid: SamplingGrid,
    /// ln σ_t of the schedule, rising.
    log_sigmas: Vec<f64>,
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
            log_sigmas: schedule.sigmas().into_iter().map(f64::ln).collect(),
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

    /// The timestep of a noise level: that of the grid, or between two of the schedule, linear in ln σ.
    fn timestep(&self, sigma: f64) -> f64 {
        if let Some(i) = self.grid.timesteps.iter().zip(&self.grid.sigmas).position(|(_, s)| *s == sigma) {
            return self.grid.timesteps[i];
        }
        let log = sigma.ln();
        let last = self.log_sigmas.len() - 1;
        let above = self.log_sigmas.partition_point(|l| *l <= log).clamp(1, last.max(1)).min(last);
        let below = above.saturating_sub(1);
        let span = self.log_sigmas[above] - self.log_sigmas[below];
        if span == 0.0 {
            return above as f64;
        }
        below as f64 + ((log - self.log_sigmas[below]) / span).clamp(0.0, 1.0)
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
