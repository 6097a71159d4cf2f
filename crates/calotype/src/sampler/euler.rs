//! Euler's method: one call of the network a step, first order.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver, slope};
use crate::Result;

/// x ← x + (σ_next − σ)·(x − D)/σ. The same as DDIM with η = 0, in σ.
///
/// Karras et al. 2022, arXiv:2206.00364, Algorithm 1 without its correction.
#[derive(Debug, Default)]
pub struct Euler;

impl Solver for Euler {
    fn step(
        &mut self,
        x: Tensor<4>,
        i: usize,
        sigmas: &[f64],
        denoise: &mut dyn PredictX0,
        _: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let (a, b) = (sigmas[i], sigmas[i + 1]);
        let x_0 = denoise.x_0(&x, a)?;
        if b == 0.0 {
            return Ok(x_0);
        }
        let d = slope(&x, x_0, a);
        Ok(x + d * (b - a))
    }
}
