//! The noise levels of a sampling run in σ, as diffusers' families of samplers take them from a schedule.

use super::timesteps::{GridRule, timesteps};
use crate::Result;
use crate::diffusion::{NoiseSchedule, TimestepSpacing};

/// Where a run asks the network, and at which noise levels.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingGrid {
    /// Falling; with fractions where a family interpolates.
    pub timesteps: Vec<f64>,
    /// One for each timestep, then a final 0.
    pub sigmas: Vec<f64>,
    /// What unit noise is multiplied by at the start.
    pub init_noise_sigma: f64,
}

/// The grid of Euler's family: the timesteps of DDIM, but fractions stay under `linspace`, with σ
/// interpolated between the integer timesteps.
///
/// As in diffusers, unit noise is multiplied by the first σ under `linspace` and `trailing`, and by
/// √(σ² + 1), the standard deviation of data and noise together, under `leading`, where the first σ is
/// well below the noisiest.
///
/// # Errors
/// As [`timesteps`]; `Error::Argument` for a timestep of T or more.
pub fn euler(
    schedule: &NoiseSchedule,
    spacing: TimestepSpacing,
    steps: usize,
    steps_offset: usize,
) -> Result<SamplingGrid> {
    let num_timesteps = schedule.num_timesteps();
    let rounded = timesteps(spacing, GridRule::Ddim, steps, num_timesteps, steps_offset)?;
    let times = match spacing {
        TimestepSpacing::Linspace => {
            let grid = crate::diffusion::schedule::linspace(0.0, num_timesteps as f64 - 1.0, steps);
            grid.into_iter().rev().collect()
        }
        _ => rounded.into_iter().map(|t| t as f64).collect(),
    };
    let grid = with_sigmas(schedule, times)?;
    let first = grid.sigmas[0];
    Ok(match spacing {
        TimestepSpacing::Leading => grid,
        TimestepSpacing::Linspace | TimestepSpacing::Trailing => {
            SamplingGrid { init_noise_sigma: first, ..grid }
        }
    })
}

/// The grid of the DPM-Solver family: whole timesteps, the clean end not among them. Unit noise is the
/// start in the schedule's coordinates, so it is multiplied by √(σ² + 1) here.
///
/// # Errors
/// As [`euler`].
pub fn dpm(
    schedule: &NoiseSchedule,
    spacing: TimestepSpacing,
    steps: usize,
    steps_offset: usize,
) -> Result<SamplingGrid> {
    let times = timesteps(spacing, GridRule::Dpm, steps, schedule.num_timesteps(), steps_offset)?;
    with_sigmas(schedule, times.into_iter().map(|t| t as f64).collect())
}

fn with_sigmas(schedule: &NoiseSchedule, timesteps: Vec<f64>) -> Result<SamplingGrid> {
    let mut sigmas = timesteps.iter().map(|&t| sigma_at(schedule, t)).collect::<Result<Vec<f64>>>()?;
    let init_noise_sigma = (sigmas[0] * sigmas[0] + 1.0).sqrt();
    sigmas.push(0.0);
    Ok(SamplingGrid { timesteps, sigmas, init_noise_sigma })
}

/// σ at a timestep with a fraction: linear between its neighbours.
fn sigma_at(schedule: &NoiseSchedule, t: f64) -> Result<f64> {
    let below = schedule.sigma(t.floor() as usize)?;
    if t.fract() == 0.0 {
        return Ok(below);
    }
    Ok(below + t.fract() * (schedule.sigma(t.floor() as usize + 1)? - below))
}
