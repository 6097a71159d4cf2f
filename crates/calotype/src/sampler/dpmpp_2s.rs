//! DPM-Solver++(2S): second order from one step, two calls of the network.

use burn::tensor::Tensor;

use super::solver::{Solver, Step, exponential_step};
use crate::Result;

/// The whole step with D from its middle in ln σ. Lu et al. 2022, arXiv:2211.01095, Algorithm 1.
#[derive(Debug, Clone, Default)]
pub struct DpmPp2S;

impl Solver for DpmPp2S {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, denoise, .. } = step;
        let middle = (from * to).sqrt();
        let x_middle = exponential_step(&x, x_0, from, middle);
        let x_0_in_the_middle = denoise.x_0(&x_middle, middle)?;
        Ok(exponential_step(&x, x_0_in_the_middle, from, to))
    }
}
