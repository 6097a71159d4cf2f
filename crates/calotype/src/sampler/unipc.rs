//! UniPC: a predictor and a corrector of any order that share their calls of the network.
//!
//! Zhao et al. 2023, arXiv:2302.04867, Algorithms 1 to 3, predicting x₀, as diffusers has it.

use burn::tensor::Tensor;
use serde::Deserialize;

use super::Noise;
use super::solver::{PredictX0, Solver};
use crate::Result;

/// B(h) of the paper's Section 3.2; both give the same order. Serde names are those of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BType {
    /// B = −h.
    Bh1,
    /// B = e^(−h) − 1.
    Bh2,
}

/// UniPC of an order p from 1 to 3. Its corrector lifts the order of the whole run to p + 1 where p ≤ 2; the
/// first two steps, which know fewer values of D, keep that of p = 3 at 3.
#[derive(Debug)]
pub struct UniPc {
    /// p: values of D that a step uses.
    order: usize,
    b_type: BType,
    /// Without it this is UniP, the predictor alone.
    corrector: bool,
    /// Steps that are left, of a run whose order falls to 1 towards its end.
    left: Option<usize>,
    /// Noise level and D of the last steps, newest first.
    history: Vec<(f64, Tensor<4>)>,
    /// x at the start of the last step, corrected.
    last_x: Option<Tensor<4>>,
}

impl UniPc {
    /// A fresh run.
    pub fn new(order: usize, b_type: BType, corrector: bool) -> Self {
        Self { order: order.clamp(1, 3), b_type, corrector, left: None, history: Vec::new(), last_x: None }
    }

    /// The same for a run of `steps`, the last of which is predicted by order 1, the last but one by at most 2:
    /// diffusers' `lower_order_final`.
    pub fn with_lower_order_end(self, steps: usize) -> Self {
        Self { left: Some(steps), ..self }
    }

    /// p of the next prediction.
    fn order_ahead(&self) -> usize {
        self.left.map_or(self.order, |left| left.clamp(1, self.order)).min(self.history.len())
    }

    /// x at σ = `to`, from `x` at the newest level of the history, by the newest `order` values of D and, where
    /// given, D at `to` itself.
    fn update(&self, x: &Tensor<4>, to: f64, order: usize, at_target: Option<&Tensor<4>>) -> Tensor<4> {
        let (from, x_0) = &self.history[0];
        let earlier = &self.history[1..order];
        let h = (from / to).ln();
        let phi = (-h).exp_m1();
        let b = match self.b_type {
            BType::Bh1 => -h,
            BType::Bh2 => phi,
        };
        // r_k: how far back D_k lies, in steps of h; the target itself lies at 1.
        let mut r: Vec<f64> = earlier.iter().map(|(sigma, _)| (from / sigma).ln() / h).collect();
        let mut differences: Vec<Tensor<4>> =
            earlier.iter().zip(&r).map(|((_, d), r)| (d.clone() - x_0.clone()) / *r).collect();
        if let Some(d) = at_target {
            r.push(1.0);
            differences.push(d.clone() - x_0.clone());
        }
        let first_order = x.clone() * (to / from) - x_0.clone() * phi;
        let rho = weights(&r, -h, phi, b);
        differences.into_iter().zip(rho).fold(first_order, |x, (difference, rho)| x - difference * (b * rho))
    }
}

impl Solver for UniPc {
    fn step(
        &mut self,
        mut x: Tensor<4>,
        x_0: Tensor<4>,
        from: f64,
        to: f64,
        _: &mut dyn PredictX0,
        _: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        // D was asked for at the predicted x, and is kept when x is corrected with it.
        if let Some(last_x) = self.last_x.take().filter(|_| self.corrector) {
            x = self.update(&last_x, from, self.history.len(), Some(&x_0));
        }
        self.history.insert(0, (from, x_0));
        self.history.truncate(self.order);
        let next = self.update(&x, to, self.order_ahead(), None);
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.last_x = Some(x);
        Ok(next)
    }
}

/// ρ of the paper's Eq. 5: Σ_k r_k^(j−1) ρ_k = b_j for as many j as there are r, b_j = c_j·j!/B with
/// c_1 = φ/H − 1 and c_(j+1) = c_j/H − 1/(j+1)!. With one r (the corrector of order 1, the predictor of
/// order 2) it is ½, which keeps the order (appendix F of the paper).
fn weights(r: &[f64], big_h: f64, phi: f64, b: f64) -> Vec<f64> {
    let n = r.len();
    if n == 1 {
        return vec![0.5];
    }
    let mut c = phi / big_h - 1.0;
    let mut factorial = 1.0;
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n);
    for j in 1..=n {
        let mut row: Vec<f64> = r.iter().map(|r| r.powi(j as i32 - 1)).collect();
        row.push(c * factorial / b);
        rows.push(row);
        factorial *= (j + 1) as f64;
        c = c / big_h - 1.0 / factorial;
    }
    solve_linear(rows)
}

/// Gauss's elimination of n rows of n + 1 numbers. The matrices here are Vandermonde's of distinct
/// numbers, so a pivot always exists.
fn solve_linear(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&i, &j| rows[i][column].abs().total_cmp(&rows[j][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        let pivot = rows[column].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            if i != column {
                let factor = row[column] / pivot[column];
                row.iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elimination_solves() {
        let x = solve_linear(vec![vec![0.0, 2.0, 4.0], vec![3.0, 1.0, 5.0]]);
        assert!((x[0] - 1.0).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15);
    }
}
