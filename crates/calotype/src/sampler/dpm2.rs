//! DPM-Solver-2: the slope in the middle of the step, second order.

use burn::tensor::Tensor;

use super::solver::{Solver, Step, slope};
use crate::Result;

/// An Euler step to the geometric mean of both noise levels, then the whole step by the slope there.
///
/// Karras et al. 2022, Table 1 ("DPM2" in k-diffusion); the middle in ln σ is that of Lu et al. 2022,
/// arXiv:2206.00927, Algorithm 1.
#[derive(Debug, Clone, Default)]
pub struct Dpm2;

impl Solver for Dpm2 {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, denoise, .. } = step;
        let middle = (from * to).sqrt();
        let x_middle = x.clone() + slope(&x, x_0, from) * (middle - from);
        let x_0_in_the_middle = denoise.x_0(&x_middle, middle)?;
        Ok(x + slope(&x_middle, x_0_in_the_middle, middle) * (to - from))
    }
}
