//! Samplers in σ around a network that knows the schedule's coordinates, or EDM's.

use burn::tensor::Tensor;

use super::from_config::sigma_spacing;
use super::grid::{self, SamplingGrid};
use super::kind::Family;
use super::run::AfterStep;
use super::solver::{PredictX0, Solver, solve_watched};
use super::{Denoise, Noise, SamplerSettings, Timestep};
use crate::diffusion::{Edm, NoiseSchedule, PredictionType, Rates, SchedulerConfig, X0Limit, same_shape};
use crate::{Error, Result};

/// A solver, its noise levels, and what the network's output means.
#[derive(Debug, Clone)]
pub struct SigmaSampler {
    /// As it is before the first step.
    solver: Box<dyn Solver>,
    network: NetworkForm,
    /// What x̂₀ may be.
    limit: X0Limit,
    pub(super) grid: SamplingGrid,
}

/// What a network is given for x = x₀ + σ·ε, and what its output means.
#[derive(Debug, Clone)]
enum NetworkForm {
    /// x/√(1+σ²) at a timestep of the schedule, and a prediction.
    Schedule(NoiseSchedule, PredictionType),
    /// As EDM has it.
    Edm(Edm),
}

impl SigmaSampler {
    /// Over the schedule, spacing and noise levels of a model.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`], [`sigma_spacing`], [`grid::euler`] (of an EDM model [`grid::edm`]) and,
    /// for UniPC, [`UniPcSettings::of`](super::unipc::UniPcSettings::of); `Error::Argument` for samplers that do not
    /// work in σ.
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let Family::Sigma(grid_of, solver_of) = settings.kind.family() else {
            return Err(Error::argument("sampler", "one that works in sigma", settings.kind));
        };
        let (grid, network) = if let Some(edm) = Edm::of(config)? {
            (grid::edm(&edm, settings.steps, settings.schedule)?, NetworkForm::Edm(edm))
        } else {
            let levels = settings.schedule.map_or_else(|| sigma_spacing(config), Ok)?;
            let finite = schedule.clone().with_finite_sigma();
            let (spacing, offset) = (config.timestep_spacing, config.steps_offset);
            let grid = grid_of(&finite, spacing, settings.steps, offset, levels)?;
            (grid, NetworkForm::Schedule(schedule, config.prediction_type))
        };
        Ok(Self { solver: solver_of(config, settings)?, network, limit: X0Limit::of(config), grid })
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
        let mut solver = self.solver.clone();
        solve_watched(&mut *solver, x, &self.grid.sigmas, &mut network, noise, after)
    }

    /// The timestep of a noise level: that of the grid, or what the schedule has for a level in between. Its own σ is
    /// another where the grid rounds timesteps, or starts at a finite σ without any signal.
    fn timestep(&self, schedule: &NoiseSchedule, sigma: f64) -> Result<Timestep> {
        let grid = self.grid.timesteps.iter().zip(&self.grid.sigmas);
        let on_grid = grid.into_iter().find(|(_, level)| **level == sigma);
        let t = on_grid.map_or_else(|| schedule.timestep_of(sigma), |(t, _)| *t);
        Ok(Timestep { t, sigma: schedule.sigma_at(t)? })
    }
}

/// D(x; σ) from a network's output.
struct InSigma<'a> {
    sampler: &'a SigmaSampler,
    network: &'a mut dyn Denoise,
}

impl PredictX0 for InSigma<'_> {
    fn x_0(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>> {
        let x_0 = match &self.sampler.network {
            NetworkForm::Schedule(schedule, prediction) => {
                let alpha_bar = 1.0 / (1.0 + sigma * sigma);
                let x_t = x.clone() * alpha_bar.sqrt();
                let output = self.network.denoise(&x_t, self.sampler.timestep(schedule, sigma)?)?;
                same_shape("network output", &x_t, &output)?;
                prediction.x_0(output, x_t, &Rates::new(&[alpha_bar])?)?
            }
            NetworkForm::Edm(edm) => {
                let c = edm.at(sigma)?;
                let output = self.network.denoise(&c.input(x.clone()), Timestep { t: c.c_noise, sigma })?;
                same_shape("network output", x, &output)?;
                c.x_0(output, x.clone())
            }
        };
        Ok(self.sampler.limit.apply(x_0))
    }
}
