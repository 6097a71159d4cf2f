//! Heun's method: a step by the mean of the slopes at both ends, second order.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{PredictX0, Solver, slope};
use crate::Result;

/// Noise that is added before a step, so that the step removes more: the stochastic part of EDM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// S_churn: how much, over the whole run; 0 is none.
    pub amount: f64,
    /// S_tmin: only at σ of at least this.
    pub sigma_min: f64,
    /// S_tmax: only at σ of at most this.
    pub sigma_max: f64,
    /// S_noise: standard deviation of the noise, about 1.
    pub noise: f64,
}

/// Karras et al. 2022, arXiv:2206.00364, Algorithm 1; with [`Churn`], Algorithm 2.
#[derive(Debug, Default)]
pub struct Heun {
    /// None is the deterministic sampler.
    pub churn: Option<Churn>,
}

impl Heun {
    /// σ̂ after the churn at σ = `a`.
    fn churned(&self, a: f64, steps: usize) -> f64 {
        match self.churn {
            Some(churn) if (churn.sigma_min..=churn.sigma_max).contains(&a) => {
                a * (1.0 + (churn.amount / steps as f64).min(2.0_f64.sqrt() - 1.0))
            }
            _ => a,
        }
    }
}

impl Solver for Heun {
    fn step(
        &mut self,
        mut x: Tensor<4>,
        i: usize,
        sigmas: &[f64],
        denoise: &mut dyn PredictX0,
        noise: &mut dyn Noise,
    ) -> Result<Tensor<4>> {
        let (before, b) = (sigmas[i], sigmas[i + 1]);
        let a = self.churned(before, sigmas.len() - 1);
        if let Some(churn) = self.churn.filter(|_| a > before) {
            let z = noise.draw(&x)?;
            x = x + z * ((a * a - before * before).sqrt() * churn.noise);
        }
        let x_0 = denoise.x_0(&x, a)?;
        if b == 0.0 {
            return Ok(x_0);
        }
        let d = slope(&x, x_0, a);
        let end = x.clone() + d.clone() * (b - a);
        let x_0_at_end = denoise.x_0(&end, b)?;
        let d_at_end = slope(&end, x_0_at_end, b);
        Ok(x + (d + d_at_end) * ((b - a) / 2.0))
    }
}
