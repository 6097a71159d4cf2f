//! Which of the T training timesteps a sampler visits.

use crate::diffusion::TimestepSpacing;
use crate::diffusion::schedule::linspace;
use crate::{Error, Result};

/// How a family of samplers counts: whether the clean end is a point of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridRule {
    /// DDIM and DDPM: N points, the clean end among them.
    Ddim,
    /// The DPM-Solver family: N+1 points, of which the clean one is not visited.
    Dpm,
}

/// The `steps` timesteps of a sampling run over T = `num_timesteps`, from noise to clean, as
/// diffusers spaces them. `steps_offset` acts on `leading` only, and may push the first timestep
/// to T or beyond, where a schedule refuses it.
///
/// | spacing | `Ddim` | `Dpm` |
/// |---|---|---|
/// | `linspace` | round(linspace(0, T−1, N)) | round(linspace(0, T−1, N+1)) without the 0 |
/// | `leading` | k·⌊T/N⌋ + offset, k < N | k·⌊T/(N+1)⌋ + offset, 1 ≤ k ≤ N |
/// | `trailing` | round(T − k·T/N) − 1, k < N | the same |
///
/// Rounding is half to even. Lin et al. 2023, arXiv:2305.08891, Table 2.
///
/// # Errors
/// `Error::Argument` unless 1 ≤ `steps` ≤ T, or < T where N+1 points lie within T timesteps.
pub fn timesteps(
    spacing: TimestepSpacing,
    rule: GridRule,
    steps: usize,
    num_timesteps: usize,
    steps_offset: usize,
) -> Result<Vec<usize>> {
    let most = match (rule, spacing) {
        (GridRule::Ddim, _) | (_, TimestepSpacing::Trailing) => num_timesteps,
        // With T steps two of the T + 1 points would be one timestep.
        (GridRule::Dpm, _) => num_timesteps.saturating_sub(1).max(1),
    };
    if !(1..=most).contains(&steps) {
        return Err(Error::argument("steps", format!("1 to {most} with {spacing:?} spacing"), steps));
    }
    // `unvisited` points at the clean end belong to the grid but not to the run.
    let unvisited = match rule {
        GridRule::Ddim => 0,
        GridRule::Dpm => 1,
    };
    let points = steps + unvisited;
    Ok(match spacing {
        TimestepSpacing::Linspace => {
            let grid = linspace(0.0, num_timesteps as f64 - 1.0, points);
            grid.iter().skip(unvisited).rev().map(|t| t.round_ties_even() as usize).collect()
        }
        TimestepSpacing::Leading => {
            let stride = num_timesteps / points;
            (unvisited..points).rev().map(|k| (k * stride).saturating_add(steps_offset)).collect()
        }
        TimestepSpacing::Trailing => {
            // The quotient first: a running float range ends one entry late for some N.
            let stride = num_timesteps as f64 / steps as f64;
            let t = |k: usize| (num_timesteps as f64 - k as f64 * stride).round_ties_even() as usize - 1;
            (0..steps).map(t).collect()
        }
    })
}

/// Refuses a grid that starts at T or beyond, where no schedule has a noise level.
///
/// # Errors
/// `Error::Argument`.
pub fn require_below(
    grid: &[usize],
    spacing: TimestepSpacing,
    num_timesteps: usize,
    steps_offset: usize,
) -> Result<()> {
    if grid.iter().all(|&t| t < num_timesteps) {
        Ok(())
    } else {
        let expected = format!(
            "fewer: {spacing:?} spacing with steps_offset {steps_offset} starts beyond T = {num_timesteps}"
        );
        Err(Error::argument("steps", expected, grid.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grid_falls_and_stays_in_range() {
        let spacings = [TimestepSpacing::Linspace, TimestepSpacing::Leading, TimestepSpacing::Trailing];
        for (num_timesteps, spacing) in [1, 7, 100, 1000].into_iter().flat_map(|t| spacings.map(|s| (t, s))) {
            for (rule, steps) in (1..=num_timesteps).flat_map(|n| [(GridRule::Ddim, n), (GridRule::Dpm, n)]) {
                let name = format!("{rule:?} {spacing:?} {steps} of {num_timesteps}");
                let crowded = rule == GridRule::Dpm
                    && spacing != TimestepSpacing::Trailing
                    && steps == num_timesteps
                    && steps > 1;
                let grid = match timesteps(spacing, rule, steps, num_timesteps, 0) {
                    Ok(grid) => grid,
                    Err(error) => {
                        assert!(crowded && error.to_string().contains("steps"), "{name}: {error}");
                        continue;
                    }
                };
                assert!(!crowded && grid.len() == steps, "{name}");
                assert!(grid.is_sorted_by(|a, b| a > b) && grid[0] < num_timesteps, "{name}");
                let starts_at_noise = match spacing {
                    TimestepSpacing::Trailing => true,
                    TimestepSpacing::Linspace => steps > 1 || rule == GridRule::Dpm,
                    TimestepSpacing::Leading => false,
                };
                assert!(!starts_at_noise || grid[0] == num_timesteps - 1, "{name}");
            }
        }
    }
}
