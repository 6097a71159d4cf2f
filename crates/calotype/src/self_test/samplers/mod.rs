//! Samplers against denoisers that are known in closed form.

pub mod flow;
mod model;
pub mod moments;
pub mod ode;

use super::case::{Found, Inputs};
use super::tensors::{row, values};
use crate::diffusion::guidance as guide;
use crate::error::{Error, Result};

pub fn guidance(inputs: Inputs) -> Result<Found> {
    let output = |key: &str| -> Result<_> {
        let list = inputs.list(key)?;
        Ok(row::<4>(&list, [1, list.len(), 1, 1]))
    };
    let (cond, uncond) = (output("cond")?, output("uncond")?);
    let guided = guide::classifier_free(cond.clone(), uncond, inputs.number("scale")?)?;
    let rescaled = guide::rescale(guided.clone(), cond, inputs.number("rescale_phi")?)?;
    Ok(Found::new().list("guided", &values(guided)).list("rescaled", &values(rescaled)))
}

/// The smallest order of the last `pairs` halvings of the step, from the errors of successive runs.
/// Errors at the level of rounding say nothing.
fn least_order(errors: &[f64], pairs: usize) -> Result<f64> {
    const ROUNDING: f64 = 1e-11;
    let orders = errors.windows(2).rev().take(pairs).filter(|pair| pair[1] >= ROUNDING);
    let least = orders.map(|pair| (pair[0] / pair[1]).log2()).fold(f64::INFINITY, f64::min);
    if least.is_finite() {
        Ok(least)
    } else {
        Err(Error::argument("order_pairs", "a pair of errors above rounding", format!("{errors:?}")))
    }
}

/// `steps` + 1 levels, evenly spaced in ln σ.
fn exponential_grid(inputs: Inputs, steps: usize) -> Result<Vec<f64>> {
    let (start, end) = (inputs.number("sigma_start")?, inputs.number("sigma_end")?);
    crate::diffusion::sigma_grid::exponential(steps + 1, end, start)
}
