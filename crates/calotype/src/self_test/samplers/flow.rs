//! Flow samplers on Gaussian data.

use burn::tensor::Tensor;

use super::least_order;
use super::model::{Model, WeightedNormal};
use crate::error::Result;
use crate::sampler::flow::{FlowMethod, solve};
use crate::self_test::case::{Found, Inputs};
use crate::self_test::reference::{flow_by_midpoint, flow_grid_to_zero};
use crate::self_test::tensors::{samples, values};

fn run(inputs: Inputs, t: &[f64]) -> Result<f64> {
    let method = inputs.choice(
        "method",
        &[("euler", Some(FlowMethod::Euler)), ("heun", Some(FlowMethod::Heun)), ("midpoint", None)],
    )?;
    let WeightedNormal { m, s, .. } = Model::gaussian(inputs)?;
    // E[ε − x₀ | x_t = x] = t r/V − m − (1−t) s² r/V, V = (1−t)² s² + t², r = x − (1−t) m.
    let mut velocity = |x: &Tensor<4>, t: f64| {
        let variance = (1.0 - t).powi(2) * s * s + t * t;
        let r = x.clone() - (1.0 - t) * m;
        Ok(r * ((t - (1.0 - t) * s * s) / variance) - m)
    };
    let start = samples(&[inputs.number("x_start")?]);
    let end = match method {
        Some(method) => solve(method, method, start, t, &mut velocity, &mut |_, _| ())?,
        None => flow_by_midpoint(start, t, &mut velocity)?,
    };
    Ok(values(end)[0])
}

pub fn endpoint(inputs: Inputs) -> Result<Found> {
    Ok(Found::new().number("x_end", run(inputs, &inputs.list("t")?)?))
}

pub fn convergence(inputs: Inputs) -> Result<Found> {
    let (shift, exact) = (inputs.number("shift")?, inputs.number("x_exact")?);
    let mut ends = Vec::new();
    for steps in inputs.integers("N")? {
        ends.push(run(inputs, &flow_grid_to_zero(steps, shift)?)?);
    }
    let errors: Vec<f64> = ends.iter().map(|x| (x - exact).abs()).collect();
    let order = least_order(&errors, inputs.integer("order_pairs")?)?;
    Ok(Found::new().list("x_end", &ends).number("order_at_least", order))
}
