//! UniPC: a predictor and a corrector of any order that share their calls of the network.
//!
//! Zhao et al. 2023, arXiv:2302.04867, Algorithms 1 to 3, predicting x₀, as diffusers has it.

use burn::tensor::Tensor;
use serde::Deserialize;

use super::from_config::not_here;
use super::solver::{Solver, Step};
use crate::Result;
use crate::diffusion::{SchedulerClass, SchedulerConfig};

/// B(h) of the paper's Section 3.2; both give the same order. Serde names are those of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BType {
    /// B = −h.
    Bh1,
    /// B = e^(−h) − 1.
    Bh2,
}

/// What a model's folder may decide about UniPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniPcSettings {
    /// p, from 1 to 3.
    pub order: usize,
    /// B(h).
    pub b_type: BType,
    /// Whether the order falls towards the end of a run, which stops at σ = 0.
    pub lower_order_final: bool,
}

impl UniPcSettings {
    /// Those of a file of UniPC's class; for another class, what that class has by default: order 2 with bh2.
    ///
    /// # Errors
    /// `Error::Config` for an order or a form that UniPC does not have here.
    pub fn of(config: &SchedulerConfig) -> Result<Self> {
        if config.class_name != SchedulerClass::UniPcMultistep {
            return Ok(Self { order: 2, b_type: BType::Bh2, lower_order_final: true });
        }
        let order = config.option("solver_order")?.unwrap_or(2);
        match order {
            1..=3 => Ok(Self {
                order,
                b_type: config.option("solver_type")?.unwrap_or(BType::Bh2),
                lower_order_final: config.option("lower_order_final")?.unwrap_or(true),
            }),
            _ => Err(not_here("solver_order", "1 to 3", &order)),
        }
    }
}

/// UniPC of an order p from 1 to 3. Its corrector lifts the order of the whole run to p + 1 where p ≤ 2; the
/// first two steps, which know fewer values of D, keep that of p = 3 at 3.
#[derive(Debug, Clone)]
pub struct UniPc {
    settings: UniPcSettings,
    /// Without it this is UniP, the predictor alone.
    corrector: bool,
    /// Noise level and D of the last steps, newest first.
    history: Vec<(f64, Tensor<4>)>,
    /// x at the start of the last step, corrected.
    last_x: Option<Tensor<4>>,
}

impl UniPc {
    /// A fresh run of the same order to its end.
    pub fn new(order: usize, b_type: BType, corrector: bool) -> Self {
        let settings = UniPcSettings { order: order.clamp(1, 3), b_type, lower_order_final: false };
        Self { settings, corrector, history: Vec::new(), last_x: None }
    }

    /// A fresh run as a model's file has it.
    ///
    /// # Errors
    /// As [`UniPcSettings::of`].
    pub fn of_model(config: &SchedulerConfig) -> Result<Self> {
        let settings = UniPcSettings::of(config)?;
        Ok(Self { settings, ..Self::new(settings.order, settings.b_type, true) })
    }

    /// p of the next prediction, where `left` steps are left.
    fn order_ahead(&self, left: usize) -> usize {
        let UniPcSettings { order, lower_order_final, .. } = self.settings;
        let order = if lower_order_final { left.clamp(1, order) } else { order };
        order.min(self.history.len())
    }

    /// x at σ = `to`, from `x` at the newest level of the history, by the newest `order` values of D and, where
    /// given, D at `to` itself.
    fn update(&self, x: &Tensor<4>, to: f64, order: usize, at_target: Option<&Tensor<4>>) -> Tensor<4> {
        let (from, x_0) = &self.history[0];
        let earlier = &self.history[1..order];
        let h = (from / to).ln();
        let phi = (-h).exp_m1();
        let b = match self.settings.b_type {
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
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { mut x, x_0, from, to, left, .. } = step;
        // D was asked for at the predicted x, and is kept when x is corrected with it.
        if let Some(last_x) = self.last_x.take().filter(|_| self.corrector) {
            x = self.update(&last_x, from, self.history.len(), Some(&x_0));
        }
        self.history.insert(0, (from, x_0));
        self.history.truncate(self.settings.order);
        let next = self.update(&x, to, self.order_ahead(left), None);
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
    use crate::sampler::SamplerKind;

    #[test]
    fn the_file_decides_about_unipc() {
        let text = |more: &str| format!(r#"{{"_class_name": "UniPCMultistepScheduler"{more}}}"#);
        let of = |more: &str| UniPcSettings::of(&SchedulerConfig::parse(&text(more)).unwrap());
        let bh2 = UniPcSettings { order: 2, b_type: BType::Bh2, lower_order_final: true };
        assert_eq!(of("").unwrap(), bh2);
        let all = r#", "solver_order": 3, "solver_type": "bh1", "lower_order_final": false"#;
        let third = UniPcSettings { order: 3, b_type: BType::Bh1, lower_order_final: false };
        assert_eq!(of(all).unwrap(), third);
        let other =
            r#"{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "solver_type": "heun"}"#;
        assert_eq!(UniPcSettings::of(&SchedulerConfig::parse(other).unwrap()).unwrap(), bh2);
        for (more, name) in [
            (r#", "solver_order": 4"#, "solver_order"),
            (r#", "solver_order": 0"#, "solver_order"),
            (r#", "solver_type": "midpoint""#, "solver_type"),
        ] {
            let error = SamplerKind::from_config(&SchedulerConfig::parse(&text(more)).unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{more}: {error}");
        }
    }

    #[test]
    fn elimination_solves() {
        let x = solve_linear(vec![vec![0.0, 2.0, 4.0], vec![3.0, 1.0, 5.0]]);
        assert!((x[0] - 1.0).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15);
    }
}
