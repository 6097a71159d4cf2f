//! Gradients to the ranks that own their parameters, and weights back to all.
//!
//! Tensors travel in buckets, so that what is in flight is little and counts stay below MPI's largest.

use std::ops::Range;

use calotype_kernels::memory::Buffer;
use rayon::prelude::*;

use super::data_parallel::{Logged, ShareSums, mean};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::ranks::ordered_sum::{Node, OrderedSum, branches};
use crate::ranks::{self, Ranks};

/// Numbers of a bucket at most: 16 MiB.
pub(super) const BUCKET: usize = 4 << 20;

/// First share and number of shares of a branch of the sum.
type Branch = (usize, usize);

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
    let ShareSums { nodes, of, direct, .. } = sums;
    let first = nodes.first().ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
    let (rank, count) = (ranks.rank(), ranks.count());
    let lengths: Vec<usize> = first.sum.iter().map(|tensor| tensor.values.len()).collect();
    let empty = |tensor: &NamedTensor| NamedTensor { values: vec![], ..shell(tensor) };
    let mut gradients: Vec<NamedTensor> = first.sum.iter().map(empty).collect();
    let branches: Vec<Vec<Branch>> = (0..count).map(|rank| branches(ranks::own(of, rank, count))).collect();
    for bucket in buckets(&lengths, BUCKET) {
        let of_rank = |owner: usize| bucket.iter().filter(move |piece| owners[piece.tensor] == owner);
        let numbers = |owner| of_rank(owner).map(|piece| piece.numbers.len()).sum::<usize>();
        let mut send: Vec<u8> = Vec::new();
        for owner in 0..count {
            for piece in of_rank(owner) {
                for node in &nodes {
                    let values = &node.sum[piece.tensor].values[piece.numbers.clone()];
                    send.extend_from_slice(bytemuck::cast_slice(values));
                }
            }
        }
        let to: Vec<usize> = (0..count).map(|owner| 4 * numbers(owner) * nodes.len()).collect();
        let from: Vec<usize> = branches.iter().map(|branches| 4 * numbers(rank) * branches.len()).collect();
        let received: Vec<f32> = ranks::numbers(&ranks.all_to_all(send, &to, &from)?);
        // Where the numbers of each rank begin, and those of the next piece among them.
        let begin = from.iter().scan(0, |sum, bytes| Some(std::mem::replace(sum, *sum + bytes / 4)));
        let begin: Vec<usize> = begin.collect();
        let before =
            of_rank(rank).scan(0, |sum, piece| Some(std::mem::replace(sum, *sum + piece.numbers.len())));
        let pieces: Vec<(&Piece, usize)> = of_rank(rank).zip(before).collect();
        let summed: Vec<Vec<f32>> = pieces
            .par_iter()
            .map(|&(piece, before)| sum_of(piece, before, &received, (&begin, &branches), (of, scale)))
            .collect();
        for ((piece, _), values) in pieces.iter().zip(summed) {
            gradients[piece.tensor].values.extend(values);
        }
    }
    for (gradient, direct) in gradients.iter_mut().zip(direct.into_iter().flatten()) {
        gradient.values.iter_mut().zip(&direct.values).for_each(|(sum, other)| *sum += other);
    }
    Ok(gradients)
}

fn shell(tensor: &NamedTensor) -> NamedTensor {
    NamedTensor { name: tensor.name.clone(), shape: tensor.shape.clone(), values: vec![] }
}

/// The sum of a piece over the branches of all ranks. `before`: numbers of this rank's pieces before it.
fn sum_of(
    piece: &Piece,
    before: usize,
    received: &[f32],
    (begin, branches): (&[usize], &[Vec<Branch>]),
    (of, scale): (usize, f32),
) -> Vec<f32> {
    let n = piece.numbers.len();
    let mut add = |sum: &mut Vec<f32>, other: Vec<f32>, whole: bool| {
        let scale = if whole { scale } else { 1.0 };
        sum.iter_mut().zip(&other).for_each(|(s, o)| *s = (*s + o) * scale);
    };
    let mut sum = OrderedSum::new(of);
    for (begin, branches) in begin.iter().zip(branches) {
        let first = begin + before * branches.len();
        for (i, &(start, len)) in branches.iter().enumerate() {
            let values = received[first + i * n..first + (i + 1) * n].to_vec();
            sum.push(Node { start, len, sum: values }, &mut add);
        }
    }
    sum.total(&mut add).unwrap_or_default()
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
        let of_rank = |owner: usize| bucket.iter().filter(move |piece| owners[piece.tensor] == owner);
        let counts: Vec<usize> =
            (0..ranks.count()).map(|owner| of_rank(owner).map(|piece| piece.numbers.len()).sum()).collect();
        let send = of_rank(ranks.rank()).flat_map(|piece| &own[piece.tensor][piece.numbers.clone()]);
        let all = ranks::gather(ranks, &send.copied().collect::<Vec<f32>>(), &counts)?;
        let mut rest = all.as_slice();
        for piece in (0..ranks.count()).flat_map(of_rank) {
            let (these, others) = rest.split_at(piece.numbers.len());
            values[piece.tensor][piece.numbers.clone()].copy_from_slice(these);
            rest = others;
        }
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
