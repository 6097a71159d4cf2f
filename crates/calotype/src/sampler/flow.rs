//! Flow matching backwards: from noise (t = 1) to data (t = 0) along the velocity.

use burn::tensor::Tensor;

use super::from_config::sigma_spacing;
use super::kind::Family;
use super::run::{AfterStep, StepCount};
use super::{Compat, Denoise, Level, SamplerSettings, Timestep};
use crate::diffusion::flow::{self, FlowGridRule, grid};
use crate::diffusion::sigma_grid::require_falling;
use crate::diffusion::{DynamicShift, SchedulerConfig, SigmaSpacing, X0Limit};
use crate::{Error, Result};

/// What a flow sampler asks of a network: v(x, t), `[B, C, H, W]` as x, t in [0, 1].
pub trait Velocity {
    /// An error ends the sampling.
    fn velocity(&mut self, x: &Tensor<4>, t: f64) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, f64) -> Result<Tensor<4>>> Velocity for F {
    fn velocity(&mut self, x: &Tensor<4>, t: f64) -> Result<Tensor<4>> {
        self(x, t)
    }
}

/// How a step follows the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowMethod {
    /// By the velocity at its start; first order.
    Euler,
    /// By the mean of the velocities at both ends; second order.
    Heun,
}

impl FlowMethod {
    /// From x at `from` to x at `to`.
    fn step(self, x: Tensor<4>, from: f64, to: f64, network: &mut dyn Velocity) -> Result<Tensor<4>> {
        let dt = to - from;
        let v = network.velocity(&x, from)?;
        let v = match self {
            Self::Euler => v,
            Self::Heun => {
                let end = x.clone() + v.clone() * dt;
                (v + network.velocity(&end, to)?) * 0.5
            }
        };
        Ok(x + v * dt)
    }
}

/// Runs the flow over falling times `t`, from 1 to 0 for whole pictures; the last step by a method of its own.
///
/// # Errors
/// `Error::Argument` unless the times fall strictly; those of `network`.
pub fn solve(
    method: FlowMethod,
    last: FlowMethod,
    x: Tensor<4>,
    t: &[f64],
    network: &mut dyn Velocity,
    on_step: &mut dyn FnMut(usize, usize),
) -> Result<Tensor<4>> {
    solve_watched([method, last], x, t, network, &mut StepCount(on_step))
}

/// [`solve`] with somebody between the steps.
fn solve_watched(
    [method, last]: [FlowMethod; 2],
    mut x: Tensor<4>,
    t: &[f64],
    network: &mut dyn Velocity,
    after: &mut dyn AfterStep,
) -> Result<Tensor<4>> {
    require_falling(t)?;
    let steps = t.len() - 1;
    for (i, pair) in t.windows(2).enumerate() {
        let method = if i + 1 == steps { last } else { method };
        x = method.step(x, pair[0], pair[1], network)?;
        x = after.after_step(x, Level::of_flow_time(pair[1]), i + 1, steps)?;
    }
    Ok(x)
}

/// A flow model's run: its method, its times, and where they lie among the network's timesteps.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowSampler {
    method: FlowMethod,
    /// Falling from 1 to 0.
    pub(super) times: Vec<f64>,
    num_timesteps: f64,
}

impl FlowSampler {
    /// Over the times of a model, shifted as its `shift` says, once or as diffusers does; for networks that read pictures
    /// in tokens over Flux's.
    ///
    /// # Errors
    /// `Error::Argument` for samplers that are not for flows, for a limit on x̂₀ or noise levels that they do
    /// not have, and for more steps than timesteps; `Error::Config` for a shift by tokens where there are none; as
    /// [`grid`].
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        let Family::Flow(method) = settings.kind.family() else {
            return Err(Error::argument("sampler", "flow-euler or flow-heun", settings.kind));
        };
        let (num_timesteps, shift) = (config.num_train_timesteps, config.option("shift")?.unwrap_or(1.0));
        X0Limit::require_none(config, settings.kind)?;
        let levels = sigma_spacing(config)?;
        if levels != SigmaSpacing::Timesteps {
            return Err(Error::argument("noise levels of the model", "timesteps, for a flow", levels));
        }
        if settings.steps > num_timesteps {
            let expected = format!("at most num_train_timesteps, {num_timesteps}");
            return Err(Error::argument("steps", expected, settings.steps));
        }
        let times = match (DynamicShift::of(config)?, settings.picture_tokens) {
            (Some(dynamic), Some(tokens)) => {
                let mu = dynamic.mu(tokens);
                flow::grid_of_tokens(settings.steps, |t| flow::shift_exponential(t, mu))?
            }
            (None, Some(_)) => {
                flow::require_shift(shift)?;
                flow::grid_of_tokens(settings.steps, |t| flow::shift(t, shift))?
            }
            (Some(_), None) => {
                let expected = "false: the model's network does not read pictures in tokens";
                return Err(Error::config("scheduler_config.json", "use_dynamic_shifting", expected, true));
            }
            (None, None) => {
                let rule = match settings.compat {
                    Some(Compat::Diffusers) => FlowGridRule::Diffusers,
                    None => FlowGridRule::ShiftOnce,
                };
                grid(rule, settings.steps, num_timesteps, shift)?
            }
        };
        Ok(Self { method, times, num_timesteps: num_timesteps as f64 })
    }

    /// From x at the first time. The last step is Euler's for both methods: the network was not trained at
    /// t = 0.
    pub(super) fn run(
        &self,
        x: Tensor<4>,
        denoise: &mut dyn Denoise,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        let timestep = |t: f64| Timestep::of_flow(t * self.num_timesteps, self.num_timesteps);
        let mut velocity = |x: &Tensor<4>, t: f64| denoise.denoise(x, timestep(t));
        solve_watched([self.method, FlowMethod::Euler], x, &self.times, &mut velocity, after)
    }
}
