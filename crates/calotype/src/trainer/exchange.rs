//! Gradients to the ranks that own their parameters, and weights back to all.
//!
//! Tensors travel in buckets, so that what is in flight is little and counts stay below MPI's largest. Numbers are copied
//! once on their way out and, if they are not added where they lie, once on their way in; what a rank has itself does not
//! travel.

use std::ops::Range;

use calotype_kernels::memory::{self, Buffer};
use rayon::prelude::*;

use super::data_parallel::{Logged, ShareSums, mean, recycle};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::ranks::ordered_sum::{Node, OrderedSum, branches};
use crate::ranks::{self, Ranks};

/// Numbers of a bucket at most: 4 MiB, which stay in the cache between packing, sending and adding, and whose memory the
/// next bucket takes over.
pub(super) const BUCKET: usize = 1 << 20;

/// A piece of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    tensor: usize,
    numbers: Range<usize>,
}

/// Tensors of these lengths in buckets, none of them cut but where one alone is larger.
fn buckets(lengths: &[usize], most: usize) -> Vec<Vec<Piece>> {
    let mut buckets: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for (tensor, &length) in lengths.iter().enumerate() {
        let mut start = 0;
        while start < length {
            let end = (start + most).min(length);
            if end - start > room {
                buckets.push(Vec::new());
                room = most;
            }
            room -= end - start;
            // There is one: it has just been made, or had room.
            if let Some(bucket) = buckets.last_mut() {
                bucket.push(Piece { tensor, numbers: start..end });
            }
            start = end;
        }
    }
    buckets
}

/// The pieces of a bucket that `owner` owns.
fn owned<'a>(bucket: &'a [Piece], owners: &'a [usize], owner: usize) -> impl Iterator<Item = &'a Piece> {
    bucket.iter().filter(move |piece| owners[piece.tensor] == owner)
}

/// Numbers of pieces.
fn length<'a>(pieces: impl Iterator<Item = &'a Piece>) -> usize {
    pieces.map(|piece| piece.numbers.len()).sum()
}

/// The numbers of `pieces`, which are in the order of the `tensors`.
fn slices<'a, 'b>(
    tensors: impl Iterator<Item = &'a mut [f32]>,
    pieces: impl Iterator<Item = &'b Piece>,
) -> Vec<&'a mut [f32]> {
    let mut tensors = tensors.enumerate();
    let slice = |piece: &Piece| {
        let (_, tensor) = tensors.find(|(i, _)| *i == piece.tensor)?;
        Some(&mut tensor[piece.numbers.clone()])
    };
    pieces.filter_map(slice).collect()
}

/// Copies slices one after another to where `rest` begins.
fn pack(slices: &[&[f32]], mut rest: &mut [f32]) {
    let places: Vec<&mut [f32]> = slices.iter().map(|slice| cut(&mut rest, slice.len())).collect();
    places.into_par_iter().zip(slices).for_each(|(place, slice)| place.copy_from_slice(slice));
}

/// The next `length` of `rest`.
fn cut<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (cut, others) = std::mem::take(rest).split_at_mut(length);
    *rest = others;
    cut
}

/// The mean gradients of the tensors that this rank owns; those of the others have no numbers. Their bits are those of one
/// process that has all shares.
///
/// - `owners`: of each tensor.
///
/// # Errors
/// `Error::Ranks`.
pub(super) fn owned_gradients(
    sums: ShareSums,
    owners: &[usize],
    ranks: &dyn Ranks,
) -> Result<Vec<NamedTensor>> {
    let scale = sums.scale();
    let ShareSums { mut nodes, of, direct, .. } = sums;
    let first = nodes.first().ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
    let lengths: Vec<usize> = first.sum.iter().map(|tensor| tensor.values.len()).collect();
    for bucket in buckets(&lengths, BUCKET) {
        add_others(&mut nodes, of, scale, (&bucket, owners), ranks)?;
    }
    let mut sums = nodes.into_iter().map(|node| node.sum);
    let mut gradients = sums.next().unwrap_or_default();
    sums.for_each(recycle);
    for (gradient, &owner) in gradients.iter_mut().zip(owners) {
        if owner != ranks.rank() {
            memory::recycle(std::mem::take(&mut gradient.values));
        }
    }
    for (gradient, direct) in gradients.iter_mut().zip(direct.into_iter().flatten()) {
        gradient.values.iter_mut().zip(&direct.values).for_each(|(sum, other)| *sum += other);
    }
    Ok(gradients)
}

/// Sums the pieces that this rank owns over the branches of all ranks, into the first of its own.
fn add_others(
    nodes: &mut [Node<Vec<NamedTensor>>],
    of: usize,
    scale: f32,
    (bucket, owners): (&[Piece], &[usize]),
    ranks: &dyn Ranks,
) -> Result<()> {
    let (rank, count) = (ranks.rank(), ranks.count());
    let owned = |owner: usize| owned(bucket, owners, owner);
    let branches: Vec<Vec<_>> = (0..count).map(|rank| branches(ranks::own(of, rank, count))).collect();
    let others = |other: &usize| *other != rank;
    let numbers = |owner: usize, from: usize| length(owned(owner)) * branches[from].len();
    let to = (0..count).map(|owner| if owner == rank { 0 } else { numbers(owner, rank) });
    let from = (0..count).map(|from| if from == rank { 0 } else { numbers(rank, from) });
    let (to, from): (Vec<usize>, Vec<usize>) = (to.collect(), from.collect());
    let of_nodes = |piece: &Piece| {
        let (tensor, numbers) = (piece.tensor, piece.numbers.clone());
        nodes.iter().map(move |node| &node.sum[tensor].values[numbers.clone()])
    };
    let others: Vec<&[f32]> = (0..count).filter(others).flat_map(owned).flat_map(of_nodes).collect();
    let mut send = Buffer::any(to.iter().sum());
    pack(&others, &mut send);
    let mut received = ranks.all_to_all(send, &to, &from)?;

    // Of each piece its summands, in the order of the shares.
    let mut summands: Vec<Vec<Node<Summand>>> = owned(rank).map(|_| Vec::new()).collect();
    let mut rest = &mut received[..];
    let mut nodes = Some(nodes);
    for (from, branches) in branches.iter().enumerate() {
        if let Some(nodes) = nodes.take_if(|_| from == rank) {
            for Node { start, len, sum } in nodes {
                let tensors = sum.iter_mut().map(|tensor| tensor.values.as_mut_slice());
                let own = slices(tensors, owned(rank)).into_iter().zip(&mut summands);
                own.for_each(|(values, summands)| {
                    summands.push(Node { start: *start, len: *len, sum: Summand { values, own: true } });
                });
            }
        } else {
            for (piece, summands) in owned(rank).zip(&mut summands) {
                summands.extend(branches.iter().map(|&(start, len)| {
                    let values = cut(&mut rest, piece.numbers.len());
                    Node { start, len, sum: Summand { values, own: false } }
                }));
            }
        }
    }
    summands.into_par_iter().for_each(|summands| {
        let mut add = Summand::adding(scale);
        let mut sum = OrderedSum::new(of);
        summands.into_iter().for_each(|node| sum.push(node, &mut add));
        sum.total(&mut add);
    });
    Ok(())
}

/// A branch's numbers of a piece.
struct Summand<'a> {
    values: &'a mut [f32],
    /// Whether they are this rank's: then the sum stays here, and that of all in the first of them.
    own: bool,
}

impl Summand<'_> {
    /// Adds two, the whole sum times `scale`. Addition is commutative: so the place can be that of either.
    fn adding(scale: f32) -> impl FnMut(&mut Self, Self, bool) {
        move |sum, mut other, whole| {
            if other.own && !sum.own {
                std::mem::swap(sum, &mut other);
            }
            let scale = if whole { scale } else { 1.0 };
            sum.values.iter_mut().zip(other.values).for_each(|(s, o)| *s = (*s + *o) * scale);
        }
    }
}

/// Means of the log over the shares of all ranks, in their order.
///
/// - `numbers`: how many there are of each share.
///
/// # Errors
/// `Error::Ranks`.
pub(super) fn logged(sums: &ShareSums, numbers: usize, ranks: &dyn Ranks) -> Result<Vec<f64>> {
    let own = match &sums.logged {
        Logged::Batch(logged) => return Ok(logged.clone()),
        Logged::Shares(shares) => shares.concat(),
    };
    let count = ranks.count();
    let counts: Vec<usize> =
        (0..count).map(|rank| numbers * ranks::own(sums.of, rank, count).len()).collect();
    let all = ranks::gather(ranks, &own, &counts)?;
    let shares: Vec<Vec<f64>> = all.chunks(numbers.max(1)).map(<[f64]>::to_vec).collect();
    Ok(mean(&shares))
}

/// Every tensor as its owner has it: `own` are those of this rank, nothing in the place of the others.
///
/// - `lengths`: of all tensors.
///
/// # Errors
/// `Error::Ranks`.
pub(super) fn all_values(
    own: &[&[f32]],
    lengths: &[usize],
    owners: &[usize],
    ranks: &dyn Ranks,
) -> Result<Vec<Buffer>> {
    let mut values: Vec<Buffer> = lengths.iter().map(|&length| Buffer::any(length)).collect();
    for bucket in buckets(lengths, BUCKET) {
        let owned = |owner: usize| owned(&bucket, owners, owner);
        let counts: Vec<usize> = (0..ranks.count()).map(|owner| length(owned(owner))).collect();
        let own = owned(ranks.rank()).map(|piece| &own[piece.tensor][piece.numbers.clone()]);
        let mut all = Buffer::any(counts.iter().sum());
        pack(&own.collect::<Vec<_>>(), &mut all[counts[..ranks.rank()].iter().sum()..]);
        let all = ranks.all_gather(all, &counts)?;
        let mut rest = &all[..];
        let mut heard: Vec<(&Piece, &[f32])> = (0..ranks.count())
            .flat_map(owned)
            .map(|piece| {
                let (these, others) = rest.split_at(piece.numbers.len());
                rest = others;
                (piece, these)
            })
            .collect();
        heard.sort_by_key(|(piece, _)| piece.tensor);
        let places = slices(values.iter_mut().map(|values| &mut values[..]), bucket.iter());
        places.into_par_iter().zip(heard).for_each(|(place, (_, heard))| place.copy_from_slice(heard));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_everything_once_and_no_more_than_they_may() {
        let lengths = [3, 0, 5, 23, 1, 9, 2];
        let buckets = buckets(&lengths, 10);
        let mut seen = lengths.map(|length| vec![0; length]);
        for bucket in &buckets {
            assert!(bucket.iter().map(|piece| piece.numbers.len()).sum::<usize>() <= 10, "{bucket:?}");
            bucket.iter().for_each(|piece| {
                seen[piece.tensor][piece.numbers.clone()].iter_mut().for_each(|seen| *seen += 1);
            });
        }
        assert!(seen.iter().flatten().all(|&seen| seen == 1));
        assert_eq!(buckets.len(), 6, "{buckets:?}");
    }
}
