//! Euler's method with fresh noise after each step.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver, slope};
use crate::Result;

/// An Euler step down to σ_down, then noise back up to σ_next: σ_up² + σ_down² = σ_next².
///
/// σ_up = min(σ_next, η·√(σ_next²·(σ² − σ_next²)/σ²)), of which η = 1 is the ancestral step of DDPM
/// (Ho et al. 2020, Eq. 7, in σ).
#[derive(Debug)]
pub struct EulerAncestral {
    /// η, at least 0; 0 is [`Euler`](super::euler::Euler).
    pub eta: f64,
}

impl Solver for EulerAncestral {
    fn step(
        &mut self,
        x: Tensor<4>,
        i: usize,
        sigmas: &[f64],
        denoise: &mut dyn PredictX0,
        noise: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let (a, b) = (sigmas[i], sigmas[i + 1]);
        let x_0 = denoise.x_0(&x, a)?;
        if b == 0.0 {
            return Ok(x_0);
        }
        let up = (self.eta * (b * b * (a * a - b * b) / (a * a)).sqrt()).min(b);
        let down = (b * b - up * up).sqrt();
        let d = slope(&x, x_0, a);
        let x = x + d * (down - a);
        if up == 0.0 {
            return Ok(x);
        }
        let z = noise.draw(&x)?;
        Ok(x + z * up)
    }
}
