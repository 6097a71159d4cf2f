//! Latent consistency models: the network leads from any timestep to x₀, and fresh noise back to the next.

use burn::tensor::Tensor;

use super::{Noise, Transition};
use crate::diffusion::same_shape;
use crate::{Error, Result};

/// The standard deviation of data that the boundary condition assumes.
const SIGMA_DATA: f64 = 0.5;

/// One step: f = c_skip·x_t + c_out·x̂₀, then x_s = √ᾱ_s·f + √(1−ᾱ_s)·z; the last one ends at f.
///
/// c_skip = σ_d²/(s² + σ_d²) and c_out = s/√(s² + σ_d²), with s = `timestep_scaling`·t and σ_d = 0.5, so that
/// f is x itself at t = 0. Luo et al. 2023, arXiv:2310.04378, Algorithm 3 and Appendix C.
///
/// - `x_t`, `x_0`: `[B, C, H, W]`; `x_0` is x̂₀, predicted at `x_t`.
///
/// # Errors
/// `Error::Shape` if the shapes differ; those of `noise`.
pub fn step(
    x_t: Tensor<4>,
    x_0: Tensor<4>,
    transition: &Transition,
    timestep_scaling: f64,
    noise: &mut dyn Noise,
) -> Result<Tensor<4>> {
    same_shape("LCM step", &x_t, &x_0)?;
    let s = timestep_scaling * transition.t as f64;
    let variance = s * s + SIGMA_DATA * SIGMA_DATA;
    let f = x_t * (SIGMA_DATA * SIGMA_DATA / variance) + x_0 * (s / variance.sqrt());
    if transition.s.is_none() {
        return Ok(f);
    }
    let z = noise.draw(&f)?;
    Ok(f * transition.alpha_bar_s.sqrt() + z * (1.0 - transition.alpha_bar_s).sqrt())
}

/// The timesteps of `steps` steps: evenly among the `original_steps` that the model was distilled with,
/// which are the ends of as many equal parts of T = `num_timesteps`.
///
/// # Errors
/// `Error::Argument` unless 1 ≤ `steps` ≤ `original_steps` ≤ T.
pub fn timesteps(steps: usize, original_steps: usize, num_timesteps: usize) -> Result<Vec<usize>> {
    if !(1..=num_timesteps).contains(&original_steps) {
        return Err(Error::argument(
            "original_inference_steps",
            format!("1 to {num_timesteps}"),
            original_steps,
        ));
    }
    if !(1..=original_steps).contains(&steps) {
        let expected = format!("1 to {original_steps}, with which the model was distilled");
        return Err(Error::argument("steps", expected, steps));
    }
    let part = num_timesteps / original_steps;
    let stride = original_steps as f64 / steps as f64;
    let distilled = |from_noise: usize| (original_steps - from_noise) * part - 1;
    Ok((0..steps).map(|i| distilled((i as f64 * stride).floor() as usize)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn four_steps_of_fifty() {
        assert_eq!(timesteps(4, 50, 1000).unwrap(), [999, 759, 499, 259]);
        for steps in [0, 51] {
            assert_refuses(timesteps(steps, 50, 1000), "steps: expected 1 to 50");
        }
        assert_refuses(timesteps(1, 50, 49), "original_inference_steps: expected 1 to 49");
    }
}
