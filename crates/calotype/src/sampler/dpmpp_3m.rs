//! DPM-Solver++(3M): third order from three steps.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver};
use crate::Result;

/// The first step is of first order, the second is [`DpmPp2M`](super::dpmpp_2m::DpmPp2M)'s; then D is
/// extrapolated by a parabola through three values.
///
/// Lu et al. 2022, arXiv:2211.01095, appendix B.5, as diffusers has it.
#[derive(Debug, Default)]
pub struct DpmPp3M {
    /// (h, D) of the last steps, newest last, at most two.
    last: Vec<(f64, Tensor<4>)>,
}

impl Solver for DpmPp3M {
    fn step(
        &mut self,
        x: Tensor<4>,
        x_0: Tensor<4>,
        from: f64,
        to: f64,
        _: &mut dyn PredictX0,
        _: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let h = (from / to).ln();
        let e = (-h).exp_m1();
        let first_order = x * (to / from) - x_0.clone() * e;
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
                first_order + slope * (e / h + 1.0) - curvature * ((e + h) / (h * h) - 0.5)
            }
        };
        self.last.push((h, x_0));
        if self.last.len() > 2 {
            self.last.remove(0);
        }
        Ok(next)
    }
}
