//! A contrastive loss over a batch that does not fit into memory at once.
//!
//! Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983:
//! the loss depends on the networks through the embeddings alone, and those are small. So embed every share without
//! a graph, differentiate the loss with respect to the embeddings, and then embed each share again, with a graph,
//! to carry that gradient to the weights.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor, TensorData};

use super::batch::Batch;
use super::data_parallel::{Logged, ShareSums, absorb};
use super::objective::{Number, ShareLoss};
use crate::error::{Error, Result};
use crate::nn::parameters;
use crate::parallel::{each_in_order, in_parallel};
use crate::ranks::agreement::agree;
use crate::ranks::ordered_sum::{Node, OrderedSum};
use crate::ranks::{self, Ranks};

/// What both towers make of a share.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// `[B, D]`.
    pub images: Tensor<2>,
    /// `[B, D]`.
    pub texts: Tensor<2>,
    /// Texts that are wrong for every picture, `[E, D]`, if there are any.
    pub wrong_texts: Option<Tensor<2>>,
}

impl Embeddings {
    fn of_batch(shares: Vec<Self>) -> Self {
        let wrong: Vec<Tensor<2>> = shares.iter().filter_map(|share| share.wrong_texts.clone()).collect();
        let (images, texts) = shares.into_iter().map(|share| (share.images, share.texts)).unzip();
        let wrong_texts = (!wrong.is_empty()).then(|| Tensor::cat(wrong, 0));
        Self { images: Tensor::cat(images, 0), texts: Tensor::cat(texts, 0), wrong_texts }
    }

    fn as_leaves(&self) -> Self {
        let leaf = |x: &Tensor<2>| x.clone().autodiff().require_grad();
        let wrong_texts = self.wrong_texts.as_ref().map(leaf);
        Self { images: leaf(&self.images), texts: leaf(&self.texts), wrong_texts }
    }

    /// Gradients with respect to these leaves; `None` if one of them has none.
    fn gradients(&self, of_loss: &Gradients) -> Option<Self> {
        let wrong_texts = match &self.wrong_texts {
            Some(wrong) => Some(wrong.grad(of_loss)?),
            None => None,
        };
        Some(Self { images: self.images.grad(of_loss)?, texts: self.texts.grad(of_loss)?, wrong_texts })
    }

    /// Pairs, and wrong texts.
    fn counts(&self) -> [usize; 2] {
        [self.images.dims()[0], self.wrong_texts.as_ref().map_or(0, |wrong| wrong.dims()[0])]
    }

    /// The part that has `counts` and begins after so many of each.
    fn part(&self, [pair, wrong]: [usize; 2], [pairs, wrongs]: [usize; 2]) -> Self {
        let pairs = |x: &Tensor<2>| x.clone().narrow(0, pair, pairs);
        let some_wrong = self.wrong_texts.as_ref().filter(|_| wrongs > 0);
        let wrong_texts = some_wrong.map(|x| x.clone().narrow(0, wrong, wrongs));
        Self { images: pairs(&self.images), texts: pairs(&self.texts), wrong_texts }
    }

    /// The number whose gradient carries `gradient` through the embeddings: Σ embedding · gradient.
    fn carried(self, gradient: &Self) -> Tensor<1> {
        let sum = |x: Tensor<2>, g: &Tensor<2>| (x * g.clone().autodiff()).sum();
        let pairs = sum(self.images, &gradient.images) + sum(self.texts, &gradient.texts);
        match self.wrong_texts.zip(gradient.wrong_texts.as_ref()) {
            Some((wrong, gradient)) => pairs + sum(wrong, gradient),
            None => pairs,
        }
    }
}

/// Embeddings of the whole batch, and the counts of each of its shares: every rank hears those of all others.
fn of_all_ranks(own: Vec<Embeddings>, of: usize, ranks: &dyn Ranks) -> Result<(Embeddings, Vec<[usize; 2]>)> {
    let counts: Vec<[usize; 2]> = own.iter().map(Embeddings::counts).collect();
    let own = Embeddings::of_batch(own);
    if ranks.count() == 1 {
        return Ok((own, counts));
    }
    let shares: Vec<usize> =
        (0..ranks.count()).map(|rank| ranks::own(of, rank, ranks.count()).len()).collect();
    let counts: Vec<u64> = counts.concat().into_iter().map(|count| count as u64).collect();
    let counts = ranks::gather(ranks, &counts, &shares.iter().map(|shares| 2 * shares).collect::<Vec<_>>())?;
    let counts: Vec<[usize; 2]> =
        counts.chunks_exact(2).map(|pair| [pair[0] as usize, pair[1] as usize]).collect();
    let [_, width] = own.images.dims();
    let device = own.images.device();
    let gathered = |own: Option<Tensor<2>>, which: usize| -> Result<Option<Tensor<2>>> {
        let mut rest = counts.as_slice();
        let rows: Vec<usize> = shares
            .iter()
            .map(|&shares| {
                let (of_rank, others) = rest.split_at(shares);
                rest = others;
                of_rank.iter().map(|counts| counts[which]).sum()
            })
            .collect();
        let values: Vec<f32> = own.map_or(vec![], |own| own.into_data().iter::<f32>().collect());
        let numbers: Vec<usize> = rows.iter().map(|rows| rows * width).collect();
        let values = ranks::gather(ranks, &values, &numbers)?;
        let rows: usize = rows.iter().sum();
        Ok((rows > 0).then(|| Tensor::from_data(TensorData::new(values, [rows, width]), &device)))
    };
    let empty = || Error::shape("embeddings", "at least one", 0);
    let images = gathered(Some(own.images), 0)?.ok_or_else(empty)?;
    let texts = gathered(Some(own.texts), 0)?.ok_or_else(empty)?;
    Ok((Embeddings { images, texts, wrong_texts: gathered(own.wrong_texts, 1)? }, counts))
}

/// The gradients of `compare` over the whole batch, by shares that are embedded at most `threads` at a time. Sums
/// have the order of the shares. Of several ranks each embeds its own shares, and compares all of them: the logits are
/// few beside what the towers compute.
///
/// # Errors
/// Those of both functions; `Error::Diverged` for a loss or gradient that is not finite.
pub fn gradients<M: Module + Sync, S: Sync>(
    network: &M,
    batch: &Batch<S>,
    (threads, ranks): (usize, &dyn Ranks),
    step: usize,
    embed: impl Fn(&M, &S) -> Result<Embeddings> + Sync,
    compare: impl Fn(&M, Embeddings) -> Result<ShareLoss>,
) -> Result<ShareSums> {
    let embedded = in_parallel(batch.shares.iter().collect(), threads, |share| embed(network, share));
    let (embedded, counts) = of_all_ranks(agree(ranks, embedded)?, batch.of, ranks)?;

    let leaves = embedded.as_leaves();
    let tracked = parameters::tracked(network);
    let ShareLoss { total, logged, .. } = compare(&tracked, leaves.clone())?;
    let mut of_loss = total.backward();
    let not_finite = |what: &str| {
        let error = Error::NonFinite { what: what.into(), step, got: "NaN or infinity".into() };
        Err(error.in_batch(step, batch.items.clone()))
    };
    if !total.into_scalar::<f32>().is_finite() {
        return not_finite("loss");
    }
    let Some(cached) = leaves.gradients(&of_loss) else {
        return not_finite("gradient of the embeddings");
    };
    // What the loss sees directly: the temperature.
    let direct = parameters::named_gradients(&tracked, &mut of_loss);

    let add = |sum: [usize; 2], counts: &[usize; 2]| [sum[0] + counts[0], sum[1] + counts[1]];
    let mut first = counts[..batch.first].iter().fold([0, 0], add);
    let with_gradients = batch.shares.iter().zip(&counts[batch.first..]).map(|(share, counts)| {
        let part = cached.part(first, *counts);
        first = add(first, counts);
        (share, part)
    });
    let carry = |(share, gradient): (&S, Embeddings)| {
        let network = parameters::tracked(network);
        let mut gradients = embed(&network, share)?.carried(&gradient).backward();
        Ok(parameters::named_gradients(&network, &mut gradients))
    };
    // What is not finite stays so: the sum of all tells.
    let mut add = |sum: &mut Vec<_>, other, _| {
        absorb(sum, other, 1.0);
    };
    let (mut sum, mut start) = (OrderedSum::new(batch.of), batch.first);
    each_in_order(with_gradients.collect(), threads, carry, |share| {
        sum.push(Node { start, len: 1, sum: share }, &mut add);
        start += 1;
    })?;
    let logged = logged.iter().map(Number::read).collect();
    let (nodes, logged) = (sum.into_nodes(), Logged::Batch(logged));
    Ok(ShareSums { nodes, of: batch.of, average: false, direct: Some(direct), logged })
}
