//! Euler's method with fresh noise after each step.

use burn::tensor::Tensor;

use super::solver::{Solver, Step, slope};
use crate::Result;

/// An Euler step down to σ_down, then noise back up to σ_next: σ_up² + σ_down² = σ_next².
///
/// σ_up = min(σ_next, η·√(σ_next²·(σ² − σ_next²)/σ²)), of which η = 1 is the ancestral step of DDPM
/// (Ho et al. 2020, Eq. 7, in σ).
#[derive(Debug, Clone)]
pub struct EulerAncestral {
    /// η, at least 0; 0 is [`Euler`](super::euler::Euler).
    pub eta: f64,
}

impl Solver for EulerAncestral {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, noise, .. } = step;
        let up = (self.eta * (to * to * (from * from - to * to) / (from * from)).sqrt()).min(to);
        let down = (to * to - up * up).sqrt();
        let d = slope(&x, x_0, from);
        let x = x + d * (down - from);
        if up == 0.0 {
            return Ok(x);
        }
        let z = noise.draw(&x)?;
        Ok(x + z * up)
    }
}
