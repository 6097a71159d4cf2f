//! DPM-Solver++(2M): second order from two steps, one call of the network each; and its stochastic form.

use burn::tensor::Tensor;

use super::solver::{Solver, Step};
use crate::Result;

/// x ← (σ_next/σ)·e^(−g)·x + q·D + (q/2)·(h/h_last)·(D − D_last) + σ_next·√(1 − e^(−2g))·z, with
/// h = ln(σ/σ_next), g = η·h and q = 1 − e^(−h−g).
///
/// η = 0: Lu et al. 2022, arXiv:2211.01095, Algorithm 2. η > 0: the midpoint form of k-diffusion's
/// SDE-DPM-Solver++(2M), same paper, Section 5.
#[derive(Debug, Clone, Default)]
pub struct DpmPp2M {
    /// η, at least 0; 0 is deterministic.
    pub eta: f64,
    last: Option<(f64, Tensor<4>)>,
}

impl DpmPp2M {
    /// With noise of strength η.
    pub fn new(eta: f64) -> Self {
        Self { eta, last: None }
    }
}

impl Solver for DpmPp2M {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, noise, .. } = step;
        let h = (from / to).ln();
        let g = self.eta * h;
        let q = -(-h - g).exp_m1();
        let mut next = x * (to / from * (-g).exp()) + x_0.clone() * q;
        if let Some((h_last, x_0_last)) = self.last.replace((h, x_0.clone())) {
            next = next + (x_0 - x_0_last) * (q / 2.0 * h / h_last);
        }
        if self.eta == 0.0 {
            return Ok(next);
        }
        let z = noise.draw(&next)?;
        Ok(next + z * (to * (-(-2.0 * g).exp_m1()).sqrt()))
    }
}
