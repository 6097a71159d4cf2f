//! Loss and gradients of a batch, in shares that run side by side, and one after another where there are more of
//! them than threads.
//!
//! The number of shares is a setting of the recipe, not of the machine: gradients are always summed
//! in the same order, so that 1 and 2 threads train the same weights.

use burn::module::Module;
use rayon::prelude::*;

use super::objective::{Batch, ShareLoss};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::nn::parameters;
use crate::parallel::each_in_order;

/// Mean loss over the whole batch.
#[derive(Debug, Clone)]
pub struct BatchGradients {
    /// The gradient of every parameter that is trained.
    pub gradients: Vec<NamedTensor>,
    /// Means of [`ShareLoss::logged`].
    pub logged: Vec<f64>,
}

/// Runs `loss` on each share of `batch`, at most `threads` at a time, and averages. Only parameters that `trains`
/// names have a gradient.
///
/// # Errors
/// The first error of `loss` in the order of the shares; `Error::Diverged` for a loss or gradient that is not
/// finite, with the samples of the share that it comes from.
pub fn batch_gradients<M: Module + Sync, P: Sync>(
    module: &M,
    batch: &Batch<P>,
    threads: usize,
    step: usize,
    trains: impl Fn(&str) -> bool + Sync,
    loss: impl Fn(&M, &P) -> Result<ShareLoss> + Sync,
) -> Result<BatchGradients> {
    mean_of_shares(module, batch, threads, step, |module, share| {
        // Every share has leaves of its own: their graphs do not touch.
        let module = parameters::tracked_where(module, &trains);
        gradients_of(&module, loss(&module, share)?, &trains)
    })
}

/// Means over the shares of a batch of what `gradients` says of each, at most `threads` at a time.
///
/// # Errors
/// The first error in the order of the shares, with the samples of the share that it comes from.
pub(super) fn mean_of_shares<M: Module + Sync, P: Sync>(
    module: &M,
    batch: &Batch<P>,
    threads: usize,
    step: usize,
    gradients: impl Fn(&M, &P) -> Result<BatchGradients> + Sync,
) -> Result<BatchGradients> {
    let count = batch.shares.len();
    let per_share = batch.items.len().div_ceil(count.max(1)).max(1);
    let shares: Vec<(usize, M)> = (0..count).map(|share| (share, module.clone())).collect();
    let mut sum: Option<BatchGradients> = None;
    let of_share = |(share, module): (usize, M)| {
        let items = || batch.items.chunks(per_share).nth(share).unwrap_or(&[]).to_vec();
        let found = gradients(&module, &batch.shares[share]).and_then(refuse_not_finite);
        found.map_err(|error| error.in_batch(step, items()))
    };
    // Added as they come, in their order: the gradients of more shares need no more memory.
    each_in_order(shares, threads, of_share, |share| match &mut sum {
        None => sum = Some(share),
        Some(sum) => add(sum, &share),
    })?;
    let mut sum = sum.ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
    let scale = 1.0 / count as f32;
    sum.gradients.par_iter_mut().for_each(|gradient| gradient.values.iter_mut().for_each(|g| *g *= scale));
    sum.logged.iter_mut().for_each(|x| *x /= count as f64);
    Ok(sum)
}

/// Refuses gradients with NaN or infinity, naming the first tensor.
fn refuse_not_finite(computed: BatchGradients) -> Result<BatchGradients> {
    let bad = computed.gradients.par_iter().find_map_first(|gradient| {
        gradient.values.iter().find(|g| !g.is_finite()).map(|&g| (gradient.name.clone(), g))
    });
    match bad {
        Some((name, value)) => {
            let what = format!("gradient of `{name}`");
            Err(Error::NonFinite { what, step: 0, got: value.to_string() })
        }
        None => Ok(computed),
    }
}

/// The gradients of one share.
///
/// # Errors
/// `Error::NonFinite` for a term or a loss that is not finite.
fn gradients_of<M: Module>(
    module: &M,
    ShareLoss { total, terms, logged }: ShareLoss,
    trains: &(impl Fn(&str) -> bool + Sync),
) -> Result<BatchGradients> {
    let not_finite = |what: String, got: f32| Error::NonFinite { what, step: 0, got: got.to_string() };
    let mut gradients = total.backward();
    let value: f32 = total.into_scalar();
    if !value.is_finite() {
        let term = terms.into_iter().map(|(name, term)| (name, term.into_scalar::<f32>()));
        let term = term.into_iter().find(|(_, value)| !value.is_finite());
        return Err(match term {
            Some((name, value)) => not_finite(format!("`{name}` of the loss"), value),
            None => not_finite("loss".into(), value),
        });
    }
    let mut gradients = parameters::named_gradients(module, &mut gradients);
    gradients.retain(|gradient| trains(&gradient.name));
    Ok(BatchGradients { gradients, logged })
}

fn add(sum: &mut BatchGradients, other: &BatchGradients) {
    sum.gradients.par_iter_mut().zip(&other.gradients).for_each(|(sum, other)| {
        sum.values.iter_mut().zip(&other.values).for_each(|(s, o)| *s += o);
    });
    sum.logged.iter_mut().zip(&other.logged).for_each(|(s, o)| *s += o);
}

/// The value of a tensor of one number.
pub(super) fn scalar(x: &burn::tensor::Tensor<1>) -> f64 {
    f64::from(x.clone().into_scalar::<f32>())
}
