//! The noise levels of a sampling run in σ, as diffusers' families of samplers take them from a schedule.

use super::timesteps::{GridRule, require_below, timesteps};
use crate::Result;
use crate::diffusion::sigma_grid::{exponential, karras};
use crate::diffusion::{Edm, NoiseSchedule, SigmaSpacing, TimestepSpacing};

/// ρ of Karras et al. 2022, arXiv:2206.00364, Table 1.
const RHO: f64 = 7.0;

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

/// The grid of a family: over a schedule by a spacing, of so many steps, with `steps_offset` and levels.
pub type GridOf = fn(&NoiseSchedule, TimestepSpacing, usize, usize, SigmaSpacing) -> Result<SamplingGrid>;

/// The grid of Euler's family: the timesteps of DDIM, but fractions stay under `linspace`, with σ
/// interpolated between the integer timesteps.
///
/// As in diffusers, unit noise is multiplied by the first σ under `linspace` and `trailing`, and by
/// √(σ² + 1), the standard deviation of data and noise together, under `leading`, where the first σ is
/// well below the noisiest.
///
/// Karras' and exponential levels lie between the ends of this grid.
///
/// # Errors
/// As [`timesteps`]; `Error::Argument` for a timestep of T or more.
pub fn euler(
    schedule: &NoiseSchedule,
    spacing: TimestepSpacing,
    steps: usize,
    steps_offset: usize,
    levels: SigmaSpacing,
) -> Result<SamplingGrid> {
    let num_timesteps = schedule.num_timesteps();
    let rounded = timesteps(spacing, GridRule::Ddim, steps, num_timesteps, steps_offset)?;
    require_below(&rounded, spacing, num_timesteps, steps_offset)?;
    let times: Vec<f64> = match spacing {
        TimestepSpacing::Linspace => {
            let grid = crate::diffusion::schedule::linspace(0.0, num_timesteps as f64 - 1.0, steps);
            grid.into_iter().rev().collect()
        }
        _ => rounded.into_iter().map(|t| t as f64).collect(),
    };
    let sigmas = times.iter().map(|&t| schedule.sigma_at(t)).collect::<Result<Vec<f64>>>()?;
    let (first, last) = (sigmas[0], sigmas[steps - 1]);
    let grid = match respaced(levels, steps, last, first)? {
        None => with_end(times, sigmas),
        Some(sigmas) => with_end(sigmas.iter().map(|&sigma| schedule.timestep_of(sigma)).collect(), sigmas),
    };
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
/// Karras' and exponential levels lie between the ends of the whole schedule, and the network is asked at
/// the nearest timestep.
///
/// # Errors
/// As [`euler`].
pub fn dpm(
    schedule: &NoiseSchedule,
    spacing: TimestepSpacing,
    steps: usize,
    steps_offset: usize,
    levels: SigmaSpacing,
) -> Result<SamplingGrid> {
    let num_timesteps = schedule.num_timesteps();
    let times = timesteps(spacing, GridRule::Dpm, steps, num_timesteps, steps_offset)?;
    let ends = (schedule.sigma(0)?, schedule.sigma(num_timesteps - 1)?);
    if let Some(sigmas) = respaced(levels, steps, ends.0, ends.1)? {
        let nearest = |&sigma: &f64| schedule.timestep_of(sigma).round_ties_even();
        return Ok(with_end(sigmas.iter().map(nearest).collect(), sigmas));
    }
    require_below(&times, spacing, num_timesteps, steps_offset)?;
    let sigmas = times.iter().map(|&t| schedule.sigma(t)).collect::<Result<Vec<f64>>>()?;
    Ok(with_end(times.into_iter().map(|t| t as f64).collect(), sigmas))
}

/// The grid of an EDM model, whatever the sampler: its own levels or others, and c_noise for timesteps.
///
/// # Errors
/// As [`Edm::sigmas`].
pub fn edm(model: &Edm, steps: usize, levels: Option<SigmaSpacing>) -> Result<SamplingGrid> {
    let sigmas = model.sigmas(steps, levels)?;
    let timesteps = sigmas.iter().map(|&sigma| Ok(model.at(sigma)?.c_noise)).collect::<Result<_>>()?;
    Ok(with_end(timesteps, sigmas))
}

/// `steps` levels between two ends, unless they are those of the timesteps or the ends are one.
fn respaced(levels: SigmaSpacing, steps: usize, min: f64, max: f64) -> Result<Option<Vec<f64>>> {
    match levels {
        SigmaSpacing::Timesteps => Ok(None),
        _ if min == max => Ok(None),
        SigmaSpacing::Karras => karras(steps, min, max, RHO).map(Some),
        SigmaSpacing::Exponential => exponential(steps, min, max).map(Some),
    }
}

fn with_end(timesteps: Vec<f64>, mut sigmas: Vec<f64>) -> SamplingGrid {
    let init_noise_sigma = (sigmas[0] * sigmas[0] + 1.0).sqrt();
    sigmas.push(0.0);
    SamplingGrid { timesteps, sigmas, init_noise_sigma }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SchedulerConfig;

    /// One step of Karras' or exponential levels starts at the noisiest of the family's range.
    #[test]
    fn a_single_step_starts_at_the_top() {
        let schedule = SchedulerConfig::default().noise_schedule().unwrap();
        for levels in [SigmaSpacing::Karras, SigmaSpacing::Exponential] {
            let grid = dpm(&schedule, TimestepSpacing::Leading, 1, 1, levels).unwrap();
            let top = schedule.sigma(999).unwrap();
            assert!((grid.sigmas[0] / top - 1.0).abs() < 1e-12 && grid.sigmas[1] == 0.0, "{grid:?}");
            assert_eq!(grid.timesteps, [999.0]);
            let euler = |levels| euler(&schedule, TimestepSpacing::Leading, 1, 1, levels).unwrap();
            assert_eq!(euler(levels), euler(SigmaSpacing::Timesteps));
        }
    }
}
