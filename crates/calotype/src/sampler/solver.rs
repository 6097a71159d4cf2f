//! What the samplers in σ share: x = x₀ + σ·ε, and the reverse process dx/dσ = (x − D(x; σ))/σ.
//!
//! Karras et al. 2022, arXiv:2206.00364, Eq. 1.

use std::fmt::Debug;

use burn::tensor::Tensor;

use super::run::{AfterStep, StepCount};
use super::{Level, Noise};
use crate::Result;
use crate::diffusion::sigma_grid::require_falling;

/// What a solver asks of a network.
pub trait PredictX0 {
    /// D(x; σ) = E[x₀ | x], for `x` `[B, C, H, W]` at noise level σ > 0. An error ends the sampling.
    fn x_0(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, f64) -> Result<Tensor<4>>> PredictX0 for F {
    fn x_0(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>> {
        self(x, sigma)
    }
}

/// One step in σ: where it begins, where it leads, and whom it may ask.
pub struct Step<'a> {
    /// x at σ = `from`, `[B, C, H, W]`.
    pub x: Tensor<4>,
    /// D(x; `from`), of the same shape.
    pub x_0: Tensor<4>,
    /// Noise level at the start.
    pub from: f64,
    /// Noise level at the end, above 0.
    pub to: f64,
    /// Steps of the run that are left, this one included.
    pub left: usize,
    /// For solvers that ask again on the way.
    pub denoise: &'a mut dyn PredictX0,
    /// For solvers that add noise.
    pub noise: &'a mut dyn Noise,
}

/// One way from a noise level to the next. A solver may remember earlier steps, so each run needs a
/// fresh one.
pub trait Solver: BoxedClone + Debug {
    /// What happens to x before the network is asked: x, and its noise level then. Nothing, for most.
    ///
    /// - `steps`: of the whole run.
    ///
    /// # Errors
    /// Those of `noise`.
    fn churn(
        &self,
        x: Tensor<4>,
        sigma: f64,
        _steps: usize,
        _noise: &mut dyn Noise,
    ) -> Result<(Tensor<4>, f64)> {
        Ok((x, sigma))
    }

    /// x at the end of a step.
    ///
    /// # Errors
    /// Those of the step's `denoise` and `noise`.
    fn step(&mut self, step: Step) -> Result<Tensor<4>>;

    /// From `x` at σ = `from` to σ = 0, where the noise is gone: at D, for most.
    fn last(&mut self, _x: Tensor<4>, x_0: Tensor<4>, _from: f64) -> Tensor<4> {
        x_0
    }
}

/// [`Clone`] of a solver behind a box.
pub trait BoxedClone {
    /// The same, with what it remembers.
    fn boxed_clone(&self) -> Box<dyn Solver>;
}

impl<S: Solver + Clone + 'static> BoxedClone for S {
    fn boxed_clone(&self) -> Box<dyn Solver> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Solver> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// Runs the reverse process over all of `sigmas`.
///
/// - `x`: `[B, C, H, W]` at `sigmas[0]`.
/// - `on_step`: called after every step with (steps done, steps in all).
///
/// # Errors
/// `Error::Argument` unless the noise levels fall strictly; those of `denoise` and `noise`.
pub fn solve(
    solver: &mut dyn Solver,
    x: Tensor<4>,
    sigmas: &[f64],
    denoise: &mut dyn PredictX0,
    noise: &mut dyn Noise,
    on_step: &mut dyn FnMut(usize, usize),
) -> Result<Tensor<4>> {
    solve_watched(solver, x, sigmas, denoise, noise, &mut StepCount(on_step))
}

/// [`solve`] with somebody between the steps.
pub(super) fn solve_watched(
    solver: &mut dyn Solver,
    mut x: Tensor<4>,
    sigmas: &[f64],
    denoise: &mut dyn PredictX0,
    noise: &mut dyn Noise,
    after: &mut dyn AfterStep,
) -> Result<Tensor<4>> {
    require_falling(sigmas)?;
    let steps = sigmas.len() - 1;
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (churned, from) = solver.churn(x, pair[0], steps, noise)?;
        let x_0 = denoise.x_0(&churned, from)?;
        x = match pair[1] {
            0.0 => solver.last(churned, x_0, from),
            to => solver.step(Step { x: churned, x_0, from, to, left: steps - i, denoise, noise })?,
        };
        x = after.after_step(x, Level::of_sigma(pair[1]), i + 1, steps)?;
    }
    Ok(x)
}

/// dx/dσ = (x − D)/σ, the direction of the probability-flow ODE.
pub(super) fn slope(x: &Tensor<4>, x_0: Tensor<4>, sigma: f64) -> Tensor<4> {
    (x.clone() - x_0) / sigma
}

/// The exact solution from σ = `from` to σ = `to` for a D that does not change on the way:
/// (to/from)·x + (1 − to/from)·D. Lu et al. 2022, arXiv:2211.01095, Eq. 9, in σ.
pub(super) fn exponential_step(x: &Tensor<4>, x_0: Tensor<4>, from: f64, to: f64) -> Tensor<4> {
    let h = (from / to).ln();
    x.clone() * (to / from) - x_0 * (-h).exp_m1()
}
