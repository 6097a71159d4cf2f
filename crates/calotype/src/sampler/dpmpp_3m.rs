//! DPM-Solver++(3M): a parabola through the predictions of three steps; and its stochastic form.

use burn::tensor::Tensor;

use super::solver::{Solver, Step};
use crate::Result;

/// The first step is of first order, the second is [`DpmPp2M`](super::dpmpp_2m::DpmPp2M)'s; then D is
/// extrapolated by a parabola through three values.
///
/// As published it adds half of the parabola's curvature, so it is of second order with a small error.
///
/// Lu et al. 2022, arXiv:2211.01095, appendix B.5, in H = (1 + η)·ln(σ/σ_next); for η = 1 their
/// SDE-DPM-Solver++ in the same way.
#[derive(Debug, Clone, Default)]
pub struct DpmPp3M {
    /// η, at least 0; 0 is deterministic.
    eta: f64,
    /// Add the curvature with the sign that diffusers gives it in the stochastic form.
    wrong_curvature: bool,
    /// (h, D) of the last steps, newest last, at most two.
    last: Vec<(f64, Tensor<4>)>,
}

impl DpmPp3M {
    /// With noise of strength η; `as_diffusers` repeats its slip in the stochastic form, where φ₃ has +½ for
    /// −½ and does not vanish with the step.
    pub fn new(eta: f64, as_diffusers: bool) -> Self {
        Self { eta, wrong_curvature: as_diffusers && eta > 0.0, last: Vec::new() }
    }
}

impl Solver for DpmPp3M {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, noise, .. } = step;
        let h = (from / to).ln();
        let g = self.eta * h;
        let total = h + g; // H
        let e = (-total).exp_m1();
        let first_order = x * (to / from * (-g).exp()) - x_0.clone() * e;
        let next = match &self.last[..] {
            [] => first_order,
            [(h_1, d_1)] => first_order - (x_0.clone() - d_1.clone()) * (e * h / (2.0 * h_1)),
            [(h_2, d_2), (h_1, d_1), ..] => {
                let (r_0, r_1) = (h_1 / h, h_2 / h);
                let recent = (x_0.clone() - d_1.clone()) / r_0;
                let older = (d_1.clone() - d_2.clone()) / r_1;
                let bend = recent.clone() - older;
                let slope = recent + bend.clone() * (r_0 / (r_0 + r_1));
                let curvature = bend / (r_0 + r_1);
                let half = if self.wrong_curvature { -0.5 } else { 0.5 };
                let phi_3 = (e + total) / (total * total) - half;
                first_order + slope * (e / total + 1.0) - curvature * phi_3
            }
        };
        self.last.push((h, x_0));
        if self.last.len() > 2 {
            self.last.remove(0);
        }
        if self.eta == 0.0 {
            return Ok(next);
        }
        let z = noise.draw(&next)?;
        Ok(next + z * (to * (-(-2.0 * g).exp_m1()).sqrt()))
    }
}
