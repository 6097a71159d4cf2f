//! DPM-Solver-2: the slope in the middle of the step, second order.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver, slope};
use crate::Result;

/// An Euler step to the geometric mean of both noise levels, then the whole step by the slope there.
///
/// Karras et al. 2022, Table 1 ("DPM2" in k-diffusion); the middle in ln σ is that of Lu et al. 2022,
/// arXiv:2206.00927, Algorithm 1.
#[derive(Debug, Default)]
pub struct Dpm2;

impl Solver for Dpm2 {
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
        let x_middle = x.clone() + slope(&x, x_0, from) * (middle - from);
        let x_0_in_the_middle = denoise.x_0(&x_middle, middle)?;
        Ok(x + slope(&x_middle, x_0_in_the_middle, middle) * (to - from))
    }
}
