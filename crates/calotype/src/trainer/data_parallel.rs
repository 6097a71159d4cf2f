//! Loss and gradients of a batch in shares that run side by side, or on several ranks.
//!
//! Where there are more shares than threads, they run one after another.
//!
//! The number of shares is a setting of the recipe, not of the machine: gradients are always summed
//! in the same order ([`OrderedSum`]), so that 1 and 2 threads, and 1 and 4 ranks, train the same weights.

use burn::module::Module;
use calotype_kernels::memory;
use rayon::prelude::*;

use super::batch::Batch;
use super::objective::{Number, ShareLoss};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::nn::parameters;
use crate::parallel::each_in_order;
use crate::ranks::ordered_sum::{Node, OrderedSum};

/// Of the mean loss over a batch, or over one share of it.
#[derive(Debug, Clone)]
pub struct BatchGradients {
    /// The gradient of every parameter that is trained.
    pub gradients: Vec<NamedTensor>,
    /// Means of [`ShareLoss::logged`].
    pub logged: Vec<f64>,
}

/// What this rank knows of a batch's gradients: sums over its own shares.
#[derive(Debug, Clone)]
pub struct ShareSums {
    /// Branches of the sum over all shares.
    pub nodes: Vec<Node<Vec<NamedTensor>>>,
    /// Shares of the whole batch.
    pub of: usize,
    /// Whether the sum is divided by the number of shares.
    pub average: bool,
    /// What every rank knows, and is added once.
    pub direct: Option<Vec<NamedTensor>>,
    /// What goes to the log.
    pub logged: Logged,
}

/// [`ShareLoss::logged`] of a batch.
#[derive(Debug, Clone)]
pub enum Logged {
    /// Of each own share: the batch's are their means.
    Shares(Vec<Vec<f64>>),
    /// Of the whole batch: every rank knows them.
    Batch(Vec<f64>),
}

impl ShareSums {
    /// What the sum over all shares is multiplied by.
    pub fn scale(&self) -> f32 {
        if self.average { 1.0 / self.of as f32 } else { 1.0 }
    }

    /// The gradients of a batch all of whose shares are here.
    ///
    /// # Errors
    /// `Error::Diverged` naming the first tensor of the sum that is not finite; `Error::Argument` for no share.
    pub fn whole<S>(self, step: usize, batch: &Batch<S>) -> Result<BatchGradients> {
        let scale = self.scale();
        let mut finite = true;
        let mut add = |sum: &mut Vec<NamedTensor>, other, whole: bool| {
            finite &= absorb(sum, other, if whole { scale } else { 1.0 });
        };
        let mut sum = OrderedSum::new(self.of);
        self.nodes.into_iter().for_each(|node| sum.push(node, &mut add));
        let mut gradients =
            sum.total(&mut add).ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
        if let Some(direct) = self.direct {
            finite &= absorb(&mut gradients, direct, 1.0);
        }
        let logged = match self.logged {
            Logged::Shares(shares) => mean(&shares),
            Logged::Batch(logged) => logged,
        };
        let computed = BatchGradients { gradients, logged };
        if finite {
            return Ok(computed);
        }
        refuse_not_finite(computed).map_err(|error| error.in_batch(step, batch.items.clone()))
    }
}

/// Means over shares, in their order.
pub fn mean(shares: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = shares.first().cloned().unwrap_or_default();
    for share in shares.iter().skip(1) {
        sum.iter_mut().zip(share).for_each(|(sum, other)| *sum += other);
    }
    sum.iter_mut().for_each(|sum| *sum /= shares.len() as f64);
    sum
}

/// Sums over this rank's shares of a batch of what `gradients` says of each, at most `threads` at a time.
///
/// # Errors
/// The first error in the order of the shares; `Error::Diverged` for a loss or gradient that is not finite, with the
/// samples of the share that it comes from.
pub fn sums_of_shares<M: Module + Sync, S: Sync>(
    module: &M,
    batch: &Batch<S>,
    threads: usize,
    step: usize,
    gradients: impl Fn(&M, &S) -> Result<BatchGradients> + Sync,
) -> Result<ShareSums> {
    let per_share = batch.items.len().div_ceil(batch.shares.len().max(1)).max(1);
    let in_share = |i: usize, error: Error| {
        error.in_batch(step, batch.items.chunks(per_share).nth(i).unwrap_or(&[]).to_vec())
    };
    let of_share = |(i, share): (usize, &S)| gradients(module, share).map_err(|error| in_share(i, error));
    let mut finite = true;
    // The whole sum, if all of it is here, is scaled by its last addition.
    let scale = 1.0 / batch.of as f32;
    let mut add = |sum: &mut Vec<NamedTensor>, other, whole: bool| {
        finite &= absorb(sum, other, if whole { scale } else { 1.0 });
    };
    let (mut sum, mut logged) = (OrderedSum::new(batch.of), Vec::new());
    // Added as they come, in their order: the gradients of more shares need no more memory.
    each_in_order(batch.shares.iter().enumerate().collect(), threads, of_share, |share| {
        let node = Node { start: batch.first + logged.len(), len: 1, sum: share.gradients };
        logged.push(share.logged);
        sum.push(node, &mut add);
    })?;
    let nodes = sum.into_nodes();
    let single = |node: &Node<Vec<NamedTensor>>| node.len == 1 && first_not_finite(&node.sum).is_some();
    if !finite || nodes.iter().any(single) {
        // A gradient is a pure function, and this is the end of the training: computed again, it says whose it is.
        for (i, share) in batch.shares.iter().enumerate() {
            let found = gradients(module, share).and_then(refuse_not_finite);
            found.map_err(|error| in_share(i, error))?;
        }
    }
    Ok(ShareSums { nodes, of: batch.of, average: true, direct: None, logged: Logged::Shares(logged) })
}

/// [`sums_of_shares`] of a batch all of whose shares are here, as their mean.
///
/// # Errors
/// As [`sums_of_shares`] and [`ShareSums::whole`].
pub fn mean_of_shares<M: Module + Sync, S: Sync>(
    module: &M,
    batch: &Batch<S>,
    threads: usize,
    step: usize,
    gradients: impl Fn(&M, &S) -> Result<BatchGradients> + Sync,
) -> Result<BatchGradients> {
    sums_of_shares(module, batch, threads, step, gradients)?.whole(step, batch)
}

/// The first tensor with NaN or infinity, and the number.
fn first_not_finite(gradients: &[NamedTensor]) -> Option<(String, f32)> {
    gradients.par_iter().find_map_first(|gradient| {
        gradient.values.iter().find(|g| !g.is_finite()).map(|&g| (gradient.name.clone(), g))
    })
}

/// Refuses gradients with NaN or infinity, naming the first tensor.
pub(super) fn refuse_not_finite(computed: BatchGradients) -> Result<BatchGradients> {
    match first_not_finite(&computed.gradients) {
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
    let loss = loss(&module)?;
    let mut gradients = loss.total.backward();
    let value: f32 = loss.total.clone().into_scalar();
    if !value.is_finite() {
        return Err(loss.not_finite(value));
    }
    let logged = loss.logged.iter().map(Number::read).collect();
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
