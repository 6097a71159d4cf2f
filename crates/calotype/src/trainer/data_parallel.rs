//! Loss and gradients of a batch in shares that run side by side.
//!
//! Where there are more shares than threads, they run one after another.
//!
//! The number of shares is a setting of the recipe, not of the machine: gradients are always summed
//! in the same order, so that 1 and 2 threads train the same weights.

use burn::module::Module;
use calotype_kernels::memory;
use rayon::prelude::*;

use super::batch::Batch;
use super::objective::ShareLoss;
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::nn::parameters;
use crate::parallel::each_in_order;

/// Of the mean loss over a batch, or over one share of it.
#[derive(Debug, Clone)]
pub struct BatchGradients {
    /// The gradient of every parameter that is trained.
    pub gradients: Vec<NamedTensor>,
    /// Means of [`ShareLoss::logged`].
    pub logged: Vec<f64>,
}

/// Means over the shares of a batch of what `gradients` says of each, at most `threads` at a time.
///
/// # Errors
/// The first error in the order of the shares; `Error::Diverged` for a loss or gradient that is not finite, with the
/// samples of the share that it comes from.
pub fn mean_of_shares<M: Module + Sync, S: Sync>(
    module: &M,
    batch: &Batch<S>,
    threads: usize,
    step: usize,
    gradients: impl Fn(&M, &S) -> Result<BatchGradients> + Sync,
) -> Result<BatchGradients> {
    let count = batch.shares.len();
    let scale = 1.0 / count as f32;
    let per_share = batch.items.len().div_ceil(count.max(1)).max(1);
    let in_share = |i: usize, error: Error| {
        error.in_batch(step, batch.items.chunks(per_share).nth(i).unwrap_or(&[]).to_vec())
    };
    let of_share = |(i, share): (usize, &S)| gradients(module, share).map_err(|error| in_share(i, error));
    let mut sum: Option<BatchGradients> = None;
    let (mut added, mut finite) = (0, true);
    // Added as they come, in their order: the gradients of more shares need no more memory.
    each_in_order(batch.shares.iter().enumerate().collect(), threads, of_share, |share| {
        added += 1;
        match &mut sum {
            None => sum = Some(share),
            Some(sum) => {
                finite =
                    absorb(&mut sum.gradients, share.gradients, if added == count { scale } else { 1.0 });
                sum.logged.iter_mut().zip(share.logged).for_each(|(s, o)| *s += o);
            }
        }
    })?;
    let mut sum = sum.ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
    if count == 1 {
        return refuse_not_finite(sum).map_err(|error| in_share(0, error));
    }
    if !finite {
        // A gradient is a pure function, and this is the end of the training: computed again, it says whose it is.
        for (i, share) in batch.shares.iter().enumerate() {
            let found = gradients(module, share).and_then(refuse_not_finite);
            found.map_err(|error| in_share(i, error))?;
        }
        return refuse_not_finite(sum).map_err(|error| error.in_batch(step, batch.items.clone()));
    }
    sum.logged.iter_mut().for_each(|x| *x /= count as f64);
    Ok(sum)
}

/// Refuses gradients with NaN or infinity, naming the first tensor.
pub(super) fn refuse_not_finite(computed: BatchGradients) -> Result<BatchGradients> {
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

/// The gradients of `loss` in one pass back. Only parameters that `trains` names have one.
///
/// # Errors
/// Those of `loss`; `Error::NonFinite` for a term or a loss that is not finite.
pub fn differentiated<M: Module>(
    module: &M,
    trains: impl Fn(&str) -> bool,
    loss: impl FnOnce(&M) -> Result<ShareLoss>,
) -> Result<BatchGradients> {
    // Every share has leaves of its own: their graphs do not touch.
    let module = parameters::tracked_where(module, &trains);
    let ShareLoss { total, terms, logged } = loss(&module)?;
    let mut gradients = total.backward();
    let value: f32 = total.into_scalar();
    if !value.is_finite() {
        let term = terms.into_iter().map(|(name, term)| (name, term.into_scalar::<f32>()));
        let term = term.into_iter().find(|(_, value)| !value.is_finite());
        let (what, got) =
            term.map_or(("loss".into(), value), |(name, value)| (format!("`{name}` of the loss"), value));
        return Err(Error::NonFinite { what, step: 0, got: got.to_string() });
    }
    let mut gradients = parameters::named_gradients(&module, &mut gradients);
    gradients.retain(|gradient| trains(&gradient.name));
    Ok(BatchGradients { gradients, logged })
}

/// (sum + share)·`scale`, in the place of the sum; the memory of the share goes to the next one. Whether every number is
/// finite.
pub(super) fn absorb(sum: &mut [NamedTensor], share: Vec<NamedTensor>, scale: f32) -> bool {
    let pairs = sum.par_iter_mut().zip(&share);
    let finite = pairs.map(|(sum, other)| {
        let mut bad = 0;
        for (s, o) in sum.values.iter_mut().zip(&other.values) {
            *s = (*s + o) * scale;
            bad |= u32::from(!s.is_finite());
        }
        bad == 0
    });
    let finite = finite.reduce(|| true, |a, b| a && b);
    recycle(share);
    finite
}

/// Gives the memory of gradients that nobody reads any more to the next ones.
pub fn recycle(gradients: Vec<NamedTensor>) {
    gradients.into_iter().for_each(|gradient| memory::recycle(gradient.values));
}

/// The value of a tensor of one number.
pub(super) fn scalar(x: &burn::tensor::Tensor<1>) -> f64 {
    f64::from(x.clone().into_scalar::<f32>())
}
