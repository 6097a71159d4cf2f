//! Noise levels for samplers that work in σ: x = x₀ + σ·ε.

use super::schedule::linspace;
use crate::named::{named_enum, serde_by_name};
use crate::{Error, Result};

named_enum! {
    /// How a sampler in σ spaces its noise levels.
    pub enum SigmaSpacing: "schedule" {
        /// Those of the model's timesteps.
        Timesteps = "timesteps",
        /// [`karras`] with ρ = 7.
        Karras = "karras",
        /// [`exponential`].
        Exponential = "exponential",
    }
}

serde_by_name!(SigmaSpacing);

/// `steps` levels from `sigma_max` to `sigma_min`, evenly spaced in σ^(1/ρ).
///
/// Karras et al. 2022, arXiv:2206.00364, Eq. 5; ρ = 7 there. Samplers want a final 0 after them.
///
/// # Errors
/// `Error::Argument` unless 0 < `sigma_min` < `sigma_max`, ρ > 0 and `steps` ≥ 1.
pub fn karras(steps: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<f64>> {
    require_range(steps, sigma_min, sigma_max)?;
    if !(rho > 0.0 && rho.is_finite()) {
        return Err(Error::argument("rho", "a finite number above 0", rho));
    }
    let (max, min) = (sigma_max.powf(1.0 / rho), sigma_min.powf(1.0 / rho));
    Ok(linspace(0.0, 1.0, steps).into_iter().map(|u| (max + u * (min - max)).powf(rho)).collect())
}

/// `steps` levels from `sigma_max` to `sigma_min`, evenly spaced in ln σ.
///
/// # Errors
/// `Error::Argument` unless 0 < `sigma_min` < `sigma_max` and `steps` ≥ 1.
pub fn exponential(steps: usize, sigma_min: f64, sigma_max: f64) -> Result<Vec<f64>> {
    require_range(steps, sigma_min, sigma_max)?;
    Ok(linspace(sigma_max.ln(), sigma_min.ln(), steps).into_iter().map(f64::exp).collect())
}

/// Refuses a grid of fewer than two levels, or whose levels do not fall strictly, are negative or not
/// finite.
///
/// # Errors
/// `Error::Argument`.
pub fn require_falling(sigmas: &[f64]) -> Result<()> {
    let falls = sigmas.len() >= 2
        && sigmas.windows(2).all(|pair| pair[0] > pair[1])
        && sigmas.iter().all(|sigma| sigma.is_finite() && *sigma >= 0.0);
    if falls {
        Ok(())
    } else {
        let expected = "at least two finite levels of at least 0 that fall strictly";
        Err(Error::argument("sigmas", expected, format!("{sigmas:?}")))
    }
}

fn require_range(steps: usize, sigma_min: f64, sigma_max: f64) -> Result<()> {
    if steps == 0 {
        return Err(Error::argument("steps", "at least 1", steps));
    }
    if 0.0 < sigma_min && sigma_min < sigma_max && sigma_max.is_finite() {
        Ok(())
    } else {
        let got = format!("{sigma_min} and {sigma_max}");
        Err(Error::argument("sigma_min and sigma_max", "0 < sigma_min < sigma_max", got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn grids_fall_from_one_end_to_the_other() {
        for grid in [karras(9, 0.03, 14.6, 7.0).unwrap(), exponential(9, 0.03, 14.6).unwrap()] {
            assert!(require_falling(&grid).is_ok());
            assert!((grid[0] - 14.6).abs() < 1e-12 && (grid[8] - 0.03).abs() < 1e-14);
        }
    }

    #[test]
    fn refuses_what_does_not_fall() {
        for bad in
            [&[1.0][..], &[1.0, 1.0], &[1.0, 2.0], &[1.0, -0.1], &[f64::INFINITY, 1.0], &[f64::NAN, 0.0]]
        {
            assert_refuses(require_falling(bad), "sigmas: expected at least two finite levels");
        }
        assert_refuses(exponential(0, 0.1, 1.0), "steps: expected at least 1");
        assert_refuses(karras(3, 0.0, 1.0, 7.0), "sigma_min and sigma_max: expected 0 <");
    }
}
