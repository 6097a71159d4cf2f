//! Samplers in σ around a network that knows the schedule's coordinates.

use burn::tensor::Tensor;

use super::dpm2::Dpm2;
use super::dpmpp_2m::DpmPp2M;
use super::dpmpp_2s::DpmPp2S;
use super::dpmpp_3m::DpmPp3M;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::from_config::{UniPcSettings, sigma_spacing};
use super::grid::{self, SamplingGrid};
use super::heun::Heun;
use super::lms::Lms;
use super::run::AfterStep;
use super::solver::{PredictX0, Solver, solve_watched};
use super::unipc::UniPc;
use super::{Compat, Denoise, Noise, SamplerKind, SamplerSettings, Timestep};
use crate::diffusion::{NoiseSchedule, PredictionType, Rates, SchedulerConfig, X0Limit, same_shape};
use crate::{Error, Result};

/// A solver, its noise levels, and what the network's output means.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmaSampler {
    method: Method,
    prediction_type: PredictionType,
    /// What x̂₀ may be.
    limit: X0Limit,
    pub(super) grid: SamplingGrid,
    schedule: NoiseSchedule,
}

impl SigmaSampler {
    /// Over the schedule, spacing and noise levels of a model.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`], [`sigma_spacing`], [`grid::euler`] and, for UniPC,
    /// [`UniPcSettings::of`]; `Error::Argument` for samplers that do not work in σ.
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let finite = schedule.clone().with_finite_sigma();
        let levels = settings.schedule.map_or_else(|| sigma_spacing(config), Ok)?;
        let of_family = match settings.kind {
            SamplerKind::DpmPp2S
            | SamplerKind::DpmPp2M
            | SamplerKind::DpmPp2MSde
            | SamplerKind::DpmPp3MSde
            | SamplerKind::UniPc => grid::dpm,
            _ => grid::euler,
        };
        Ok(Self {
            method: Method::of(config, settings)?,
            prediction_type: config.prediction_type,
            limit: X0Limit::of(config),
            grid: of_family(&finite, config.timestep_spacing, settings.steps, config.steps_offset, levels)?,
            schedule,
        })
    }

    /// From x = x₀ + σ·ε at the first noise level.
    pub(super) fn run(
        &self,
        x: Tensor<4>,
        noise: &mut dyn Noise,
        denoise: &mut dyn Denoise,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        let mut network = InSigma { sampler: self, network: denoise };
        let mut solver = self.method.solver(self.grid.timesteps.len());
        solve_watched(&mut *solver, x, &self.grid.sigmas, &mut network, noise, after)
    }

    /// The timestep of a noise level: that of the grid, or what the schedule has for a level in between. Its own σ is
    /// another where the grid rounds timesteps, or starts at a finite σ without any signal.
    fn timestep(&self, sigma: f64) -> Result<Timestep> {
        let grid = self.grid.timesteps.iter().zip(&self.grid.sigmas);
        let on_grid = grid.into_iter().find(|(_, level)| **level == sigma);
        let t = on_grid.map_or_else(|| self.schedule.timestep_of(sigma), |(t, _)| *t);
        Ok(Timestep { t, sigma: self.schedule.sigma_at(t)? })
    }
}

/// A solver's name, with what a run or the model's folder decides about it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Euler,
    EulerAncestral,
    Heun,
    Dpm2,
    DpmPp2S,
    DpmPp2M { eta: f64 },
    DpmPp3M { eta: f64, as_diffusers: bool },
    UniPc(UniPcSettings),
    Lms,
}

impl Method {
    fn of(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        Ok(match settings.kind {
            SamplerKind::Euler => Self::Euler,
            SamplerKind::EulerAncestral => Self::EulerAncestral,
            SamplerKind::Heun => Self::Heun,
            SamplerKind::Dpm2 => Self::Dpm2,
            SamplerKind::DpmPp2S => Self::DpmPp2S,
            SamplerKind::DpmPp2M => Self::DpmPp2M { eta: 0.0 },
            SamplerKind::DpmPp2MSde => Self::DpmPp2M { eta: 1.0 },
            SamplerKind::DpmPp3MSde => {
                Self::DpmPp3M { eta: 1.0, as_diffusers: settings.compat == Some(Compat::Diffusers) }
            }
            SamplerKind::UniPc => Self::UniPc(UniPcSettings::of(config)?),
            SamplerKind::Lms => Self::Lms,
            SamplerKind::Ddpm
            | SamplerKind::Ddim
            | SamplerKind::Pndm
            | SamplerKind::Lcm
            | SamplerKind::FlowEuler
            | SamplerKind::FlowHeun => {
                return Err(Error::argument("sampler", "one that works in sigma", settings.kind));
            }
        })
    }

    /// A fresh run of `steps`.
    fn solver(self, steps: usize) -> Box<dyn Solver> {
        match self {
            Self::Euler => Box::new(Euler),
            Self::EulerAncestral => Box::new(EulerAncestral { eta: 1.0 }),
            Self::Heun => Box::new(Heun::default()),
            Self::Dpm2 => Box::new(Dpm2),
            Self::DpmPp2S => Box::new(DpmPp2S),
            Self::DpmPp2M { eta } => Box::new(DpmPp2M::new(eta)),
            Self::DpmPp3M { eta, as_diffusers } => Box::new(DpmPp3M::new(eta, as_diffusers)),
            Self::UniPc(UniPcSettings { order, b_type, lower_order_final }) => {
                let solver = UniPc::new(order, b_type, true);
                Box::new(if lower_order_final { solver.with_lower_order_end(steps) } else { solver })
            }
            Self::Lms => Box::new(Lms::default()),
        }
    }
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
        let output = self.network.denoise(&x_t, self.sampler.timestep(sigma)?)?;
        same_shape("network output", &x_t, &output)?;
        let x_0 = self.sampler.prediction_type.x_0(output, x_t, &Rates::new(&[alpha_bar])?)?;
        Ok(self.sampler.limit.apply(x_0))
    }
}
