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
pub mod grid;
pub mod heun;
pub mod noise;
pub mod solver;
pub mod timesteps;
pub mod transition;
pub mod unipc;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;

pub use noise::{Noise, NoiseSource, initial_latents};
pub use transition::Transition;

use crate::diffusion::{PredictionType, Rates, SchedulerClass, SchedulerConfig, VarianceType};
use crate::{Error, Result};
use timesteps::GridRule;

/// What a sampler asks of a network.
pub trait Denoise {
    /// The network's output (of the schedule's prediction type, after guidance) for `x_t`
    /// `[B, C, H, W]` at timestep `t`: the same shape. An error ends the sampling.
    fn denoise(&mut self, x_t: &Tensor<4>, t: usize) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, usize) -> Result<Tensor<4>>> Denoise for F {
    fn denoise(&mut self, x_t: &Tensor<4>, t: usize) -> Result<Tensor<4>> {
        self(x_t, t)
    }
}

/// The samplers. [`SamplerKind::ALL`] is the one list that help and errors are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// Ancestral sampling: [`ddpm`].
    Ddpm,
    /// Implicit, deterministic unless η > 0: [`ddim`].
    Ddim,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 2] = [Self::Ddpm, Self::Ddim];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Ddim => "ddim",
        }
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The sampler that a model's folder asks for.
    ///
    /// # Errors
    /// `Error::Argument` for a class of diffusers without a counterpart here; naming a sampler
    /// gets around it.
    pub fn from_config(config: &SchedulerConfig) -> Result<Self> {
        match config.class_name {
            SchedulerClass::Ddim => Ok(Self::Ddim),
            SchedulerClass::Ddpm => Ok(Self::Ddpm),
            other => Err(Error::argument(
                "sampler",
                format!("one of {} (the model's own scheduler has no counterpart)", Self::names()),
                format!("{other:?} from scheduler_config.json"),
            )),
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            Error::argument("sampler", format!("one of {}", Self::names()), format!("`{text}`"))
        })
    }
}

/// A sampler with everything decided but the pictures: the steps it takes and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    /// Which formula a step uses.
    pub kind: SamplerKind,
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

impl Sampler {
    /// `steps` steps of `kind` over the schedule, spacing and prediction type of a model; η = 0.
    ///
    /// # Errors
    /// As [`SchedulerConfig::noise_schedule`]; `Error::Argument` unless 1 ≤ `steps` ≤ T and every
    /// timestep, `steps_offset` included, stays below T.
    pub fn new(kind: SamplerKind, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let schedule = config.noise_schedule()?;
        let (spacing, offset) = (config.timestep_spacing, config.steps_offset);
        let num_timesteps = schedule.num_timesteps();
        let timesteps = timesteps::timesteps(spacing, GridRule::Ddim, steps, num_timesteps, offset)?;
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
        let alpha_bar_end = match kind {
            SamplerKind::Ddim if !config.set_alpha_to_one => schedule.alpha_bar(0)?,
            SamplerKind::Ddim | SamplerKind::Ddpm => 1.0,
        };
        Ok(Self {
            kind,
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
        if self.kind != SamplerKind::Ddim && eta != 0.0 {
            return Err(Error::argument("eta", format!("0: {} has no eta", self.kind), eta));
        }
        Ok(Self { eta, ..self })
    }

    /// Runs the reverse process from `initial` to x₀.
    ///
    /// - `initial`: x_T, `[B, C, H, W]`, ~ N(0, I) ([`initial_latents`]).
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
            let output = denoise.denoise(&x, transition.t)?;
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
        match self.kind {
            SamplerKind::Ddpm => ddpm::step(x_t, x_0, transition, self.variance_type, noise),
            SamplerKind::Ddim => {
                // As in diffusers, ε̂ stays what the network said even where x̂₀ was clamped.
                let eps = self.prediction_type.eps(output, x_t, &rates)?;
                ddim::step(x_0, eps, transition, self.eta, noise)
            }
        }
    }
}

#[cfg(test)]
mod tests;
