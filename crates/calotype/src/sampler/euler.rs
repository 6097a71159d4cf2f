//! Euler's method: one call of the network a step, first order.

use burn::tensor::Tensor;

use super::solver::{Solver, Step, slope};
use crate::Result;

/// x ← x + (σ_next − σ)·(x − D)/σ. The same as DDIM with η = 0, in σ.
///
/// Karras et al. 2022, arXiv:2206.00364, Algorithm 1 without its correction.
#[derive(Debug, Clone, Default)]
pub struct Euler;

impl Solver for Euler {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, .. } = step;
        let d = slope(&x, x_0, from);
        Ok(x + d * (to - from))
    }
}
