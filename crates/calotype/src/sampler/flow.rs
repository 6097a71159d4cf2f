//! Flow matching backwards: from noise (t = 1) to data (t = 0) along the velocity.

use burn::tensor::Tensor;

use crate::Result;
use crate::diffusion::sigma_grid::require_falling;

/// What a flow sampler asks of a network: v(x, t), `[B, C, H, W]` as x, t in [0, 1].
pub trait Velocity {
    /// An error ends the sampling.
    fn velocity(&mut self, x: &Tensor<4>, t: f64) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>, f64) -> Result<Tensor<4>>> Velocity for F {
    fn velocity(&mut self, x: &Tensor<4>, t: f64) -> Result<Tensor<4>> {
        self(x, t)
    }
}

/// How a step follows the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowMethod {
    /// By the velocity at its start; first order.
    Euler,
    /// By the mean of the velocities at both ends; second order. Also in the last step: the velocity at
    /// t = 0 is finite.
    Heun,
    /// By the velocity in its middle; second order.
    Midpoint,
}

impl FlowMethod {
    /// From x at `from` to x at `to`.
    fn step(self, x: Tensor<4>, from: f64, to: f64, network: &mut dyn Velocity) -> Result<Tensor<4>> {
        let dt = to - from;
        let v = network.velocity(&x, from)?;
        let v = match self {
            Self::Euler => v,
            Self::Heun => {
                let end = x.clone() + v.clone() * dt;
                (v + network.velocity(&end, to)?) * 0.5
            }
            Self::Midpoint => {
                let middle = (from + to) / 2.0;
                let x_middle = x.clone() + v * (middle - from);
                network.velocity(&x_middle, middle)?
            }
        };
        Ok(x + v * dt)
    }
}

/// Runs the flow over falling times `t`, from 1 to 0 for whole pictures.
///
/// # Errors
/// `Error::Argument` unless the times fall strictly; those of `network`.
pub fn solve(
    method: FlowMethod,
    mut x: Tensor<4>,
    t: &[f64],
    network: &mut dyn Velocity,
    on_step: &mut dyn FnMut(usize, usize),
) -> Result<Tensor<4>> {
    require_falling(t)?;
    let steps = t.len() - 1;
    for (i, pair) in t.windows(2).enumerate() {
        x = method.step(x, pair[0], pair[1], network)?;
        on_step(i + 1, steps);
    }
    Ok(x)
}
