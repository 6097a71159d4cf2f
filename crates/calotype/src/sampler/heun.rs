//! Heun's method: a step by the mean of the slopes at both ends, second order.

use burn::tensor::Tensor;

use super::Noise;
use super::solver::{Solver, Step, slope};
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
#[derive(Debug, Clone, Default)]
pub struct Heun {
    /// None is the deterministic sampler.
    pub churn: Option<Churn>,
}

impl Solver for Heun {
    fn churn(
        &self,
        x: Tensor<4>,
        sigma: f64,
        steps: usize,
        noise: &mut dyn Noise,
    ) -> Result<(Tensor<4>, f64)> {
        let wanted = |churn: &Churn| (churn.sigma_min..=churn.sigma_max).contains(&sigma);
        let Some(churn) = self.churn.filter(wanted) else { return Ok((x, sigma)) };
        let gamma = (churn.amount / steps as f64).min(2.0_f64.sqrt() - 1.0);
        if gamma == 0.0 {
            return Ok((x, sigma));
        }
        let raised = sigma * (1.0 + gamma);
        let z = noise.draw(&x)?;
        Ok((x + z * ((raised * raised - sigma * sigma).sqrt() * churn.noise), raised))
    }

    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, denoise, .. } = step;
        let d = slope(&x, x_0, from);
        let end = x.clone() + d.clone() * (to - from);
        let x_0_at_end = denoise.x_0(&end, to)?;
        let d_at_end = slope(&end, x_0_at_end, to);
        Ok(x + (d + d_at_end) * ((to - from) / 2.0))
    }
}
