//! Flow matching: straight lines from data (t = 0) to noise (t = 1), and how their times are spaced.
//!
//! The lines themselves are [`Rates::flow`](super::Rates::flow), the velocity
//! [`PredictionType::Flow`](super::PredictionType::Flow).
//!
//! Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003; Esser et al. 2024,
//! arXiv:2403.03206.

use super::schedule::linspace;
use crate::{Error, Result};

/// Where larger pictures put a noise level: shift·σ/(1 + (shift−1)·σ). Esser et al. 2024, Eq. 23.
pub fn shift(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

/// The same with shift = e^μ, as Flux computes it from the size of the picture: e^μ/(e^μ + 1/σ − 1).
pub fn shift_exponential(sigma: f64, mu: f64) -> f64 {
    if sigma > 0.0 { mu.exp() / (mu.exp() + 1.0 / sigma - 1.0) } else { 0.0 }
}

/// A training time from a standard normal draw `z`: 1/(1 + e^−(mean + std·z)), most often in the middle.
/// Esser et al. 2024, Eq. 19.
pub fn logit_normal(z: f64, mean: f64, std: f64) -> f64 {
    1.0 / (1.0 + (-(mean + std * z)).exp())
}

/// How a sampling run spaces its noise levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowGridRule {
    /// Evenly from 1 to 1/T, shifted, then 0.
    ShiftOnce,
    /// As diffusers with a static shift: its smallest level is shifted before the grid is made and then
    /// again with it.
    Diffusers,
}

/// The `steps` + 1 noise levels of a sampling run, from 1 to 0.
///
/// # Errors
/// `Error::Argument` unless `steps` ≥ 1, T = `num_timesteps` ≥ 1, and the shift is finite and above 0.
pub fn grid(rule: FlowGridRule, steps: usize, num_timesteps: usize, by: f64) -> Result<Vec<f64>> {
    if steps == 0 || num_timesteps == 0 {
        return Err(Error::argument("steps", "at least 1, of at least 1 timestep", steps));
    }
    require_shift(by)?;
    let smallest = 1.0 / num_timesteps as f64;
    let mut levels = match rule {
        FlowGridRule::ShiftOnce => linspace(1.0, smallest, steps),
        FlowGridRule::Diffusers => linspace(1.0, shift(smallest, by), steps),
    };
    levels.iter_mut().for_each(|level| *level = shift(*level, by));
    levels.push(0.0);
    Ok(levels)
}

/// The `steps` + 1 noise levels of a sampling run of Flux, from 1 to 0: evenly from 1 to 1/`steps`, each where `shifted`
/// puts it, then 0.
///
/// # Errors
/// `Error::Argument` unless `steps` ≥ 1, and the levels fall.
pub fn grid_of_tokens(steps: usize, shifted: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
    if steps == 0 {
        return Err(Error::argument("steps", "at least 1", steps));
    }
    let levels = linspace(1.0, 1.0 / steps as f64, steps).into_iter().map(shifted);
    let levels: Vec<f64> = levels.chain([0.0]).collect();
    super::sigma_grid::require_falling(&levels)?;
    Ok(levels)
}

/// Refuses a shift that is no factor.
///
/// # Errors
/// `Error::Argument` unless it is finite and above 0.
pub fn require_shift(shift: f64) -> Result<()> {
    if shift > 0.0 && shift.is_finite() {
        return Ok(());
    }
    Err(Error::argument("shift", "a finite number above 0", shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_two_shifts_are_one() {
        for sigma in [0.0, 0.1, 0.9, 1.0] {
            assert!((shift(sigma, 1.15_f64.exp()) - shift_exponential(sigma, 1.15)).abs() < 1e-15);
        }
    }
}
