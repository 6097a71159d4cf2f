//! Loss and gradients of a batch, in parts that run side by side.
//!
//! The number of parts is a setting of the recipe, not of the machine: gradients are always summed
//! in the same order, so that 1 and 2 threads train the same weights.

use burn::module::Module;
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::nn::parameters::{self, NamedTensor};
use crate::parallel::each_in_order;

/// What a loss function says about its part of the batch.
pub struct PartLoss {
    /// What is differentiated: `[1]`, a mean over the part.
    pub total: Tensor<1>,
    /// Numbers for the log, means over the part.
    pub logged: Vec<f64>,
}

/// Mean loss over the whole batch.
#[derive(Debug, Clone)]
pub struct BatchGradients {
    /// The gradient of every parameter.
    pub gradients: Vec<NamedTensor>,
    /// Means of [`PartLoss::logged`].
    pub logged: Vec<f64>,
}

/// Runs `loss` on each of `parts` (equal shares of one batch), at most `threads` at a time, and
/// averages.
///
/// # Errors
/// The first error of `loss` in the order of the parts; `Error::NonFinite` for a loss that is not
/// finite.
pub fn batch_gradients<M, P>(
    module: &M,
    parts: Vec<P>,
    threads: usize,
    step: usize,
    loss: impl Fn(&M, P) -> Result<PartLoss> + Sync,
) -> Result<BatchGradients>
where
    M: Module,
    P: Send,
{
    let count = parts.len();
    let parts: Vec<(M, P)> = parts.into_iter().map(|part| (module.clone(), part)).collect();
    let mut sum: Option<BatchGradients> = None;
    let gradients = |(module, part): (M, P)| {
        // Every part has leaves of its own: their graphs do not touch.
        let module = parameters::tracked(&module);
        let PartLoss { total, logged } = loss(&module, part)?;
        let mut gradients = total.backward();
        let value: f32 = total.into_scalar();
        if !value.is_finite() {
            return Err(Error::NonFinite { what: "loss".into(), step, got: value.to_string() });
        }
        Ok(BatchGradients { gradients: parameters::named_gradients(&module, &mut gradients), logged })
    };
    // Added as they come, in their order: the gradients of more parts need no more memory.
    each_in_order(parts, threads, gradients, |part| match &mut sum {
        None => sum = Some(part),
        Some(sum) => add(sum, &part),
    })?;
    let mut sum = sum.ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
    let scale = 1.0 / count as f32;
    sum.gradients.par_iter_mut().for_each(|gradient| gradient.values.iter_mut().for_each(|g| *g *= scale));
    sum.logged.iter_mut().for_each(|x| *x /= count as f64);
    Ok(sum)
}

fn add(sum: &mut BatchGradients, other: &BatchGradients) {
    sum.gradients.par_iter_mut().zip(&other.gradients).for_each(|(sum, other)| {
        sum.values.iter_mut().zip(&other.values).for_each(|(s, o)| *s += o);
    });
    sum.logged.iter_mut().zip(&other.logged).for_each(|(s, o)| *s += o);
}
