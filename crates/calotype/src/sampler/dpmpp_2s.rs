//! DPM-Solver++(2S): second order from one step, two calls of the network.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver, exponential_step};
use crate::Result;

/// The whole step with D from its middle in ln σ. Lu et al. 2022, arXiv:2211.01095, Algorithm 1.
#[derive(Debug, Default)]
pub struct DpmPp2S;

impl Solver for DpmPp2S {
    fn step(
        &mut self,
        x: Tensor<4>,
        x_0: Tensor<4>,
        from: f64,
        to: f64,
        denoise: &mut dyn PredictX0,
        _: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let middle = (from * to).sqrt();
        let x_middle = exponential_step(&x, x_0, from, middle);
        let x_0_in_the_middle = denoise.x_0(&x_middle, middle)?;
        Ok(exponential_step(&x, x_0_in_the_middle, from, to))
    }
}
