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
        x_0: Tensor<4>,
        from: f64,
        to: f64,
        _: &mut dyn PredictX0,
        _: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let d = slope(&x, x_0, from);
        Ok(x + d * (to - from))
    }
}
