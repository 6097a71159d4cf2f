//! An optimiser of which each rank has a share: the moments and averages of the parameters that it owns.

use std::borrow::Cow;

use calotype_kernels::memory::Buffer;

use super::{AVERAGE, Optimizer, Slot};
use crate::error::Result;
use crate::ranks::{self, Ranks};
use crate::trainer::exchange;

/// Which numbers of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Weights, moments and averages.
    All,
    /// The averages alone: what is measured and sampled from.
    Averages,
}

impl Numbers {
    /// Whether a tensor whose name in [`Optimizer::state`] begins with `kind` is one of them.
    fn have(self, kind: &str) -> bool {
        self == Numbers::All || kind.starts_with(AVERAGE)
    }
}

impl Optimizer {
    /// Who updates each parameter.
    pub fn owners(&self) -> Vec<usize> {
        self.slots.iter().map(|slot| slot.owner).collect()
    }

    /// Sums of squares as their owners have them, in the order of the parameters.
    pub(super) fn all_squares(&self, own: Vec<f64>, ranks: &dyn Ranks) -> Result<Vec<f64>> {
        let count = ranks.count();
        if count == 1 {
            return Ok(own);
        }
        let of_rank = |rank: usize| (0..own.len()).filter(move |&i| self.slots[i].owner == rank);
        let counts: Vec<usize> = (0..count).map(|rank| of_rank(rank).count()).collect();
        let send: Vec<f64> = of_rank(self.rank).map(|i| own[i]).collect();
        let all = ranks::gather(ranks, &send, &counts)?;
        let mut squares = own.clone();
        (0..count).flat_map(of_rank).zip(all).for_each(|(i, square)| squares[i] = square);
        Ok(squares)
    }

    /// The current weights of all parameters, in their order: every rank hears those of the others.
    ///
    /// # Errors
    /// `Error::Ranks`.
    pub fn all_values(&self, ranks: &dyn Ranks) -> Result<Vec<Buffer>> {
        let own: Vec<&[f32]> = self.values().map(|(.., values)| values).collect();
        let lengths: Vec<usize> = self.slots.iter().map(Slot::length).collect();
        exchange::all_values(&own, &lengths, &self.owners(), ranks)
    }

    /// On rank 0 an optimiser that has these `numbers` of every parameter, for what is written there. Nothing on the others.
    ///
    /// # Errors
    /// `Error::Ranks`.
    pub fn gathered(&self, numbers: Numbers, ranks: &dyn Ranks) -> Result<Option<Cow<'_, Self>>> {
        if ranks.count() == 1 {
            return Ok(Some(Cow::Borrowed(self)));
        }
        let mut slots = Vec::new();
        for slot in &self.slots {
            let mut whole = Slot { owner: 0, ..slot.elsewhere() };
            for ((kind, shape, place), (.., own)) in whole.tensors_mut().zip(slot.tensors()) {
                if numbers.have(&kind) {
                    *place = self.at_root(slot.owner, shape.iter().product(), own, ranks)?;
                }
            }
            if self.rank == 0 {
                slots.push(whole);
            }
        }
        let whole = Self { slots, config: self.config.clone(), emas: self.emas.clone(), rank: 0, ..*self };
        Ok((self.rank == 0).then_some(Cow::Owned(whole)))
    }

    /// `length` numbers of `owner` for rank 0.
    fn at_root(&self, owner: usize, length: usize, own: &[f32], ranks: &dyn Ranks) -> Result<Vec<f32>> {
        if owner == 0 {
            return Ok(if self.rank == 0 { own.to_vec() } else { vec![] });
        }
        let (mut to, mut from) = (vec![0; ranks.count()], vec![0; ranks.count()]);
        let mut numbers = Vec::new();
        for piece in (0..length).step_by(exchange::BUCKET) {
            let end = (piece + exchange::BUCKET).min(length);
            let send = if self.rank == owner { &own[piece..end] } else { &[] };
            to[0] = send.len();
            from[owner] = if self.rank == 0 { end - piece } else { 0 };
            numbers.extend_from_slice(&ranks.all_to_all(Buffer::copy_of(send), &to, &from)?);
        }
        Ok(numbers)
    }

    /// All ranks take over what rank 0 has gone back to: `whole` is its optimiser, nothing on the others.
    ///
    /// # Errors
    /// `Error::Ranks`.
    pub fn take_over(&mut self, whole: Option<Self>, ranks: &dyn Ranks) -> Result<()> {
        let steps = whole.as_ref().map_or(0, |whole| whole.steps as u64);
        self.steps = ranks::of_root(ranks, vec![steps])?.first().map_or(0, |&steps| steps as usize);
        let rank = self.rank;
        let mut whole = whole;
        let mut given = whole.iter_mut().flat_map(|whole| whole.slots.iter_mut().flat_map(Slot::tensors_mut));
        for slot in &mut self.slots {
            let owner = slot.owner;
            for (_, shape, values) in slot.tensors_mut() {
                let length: usize = shape.iter().product();
                let mut all =
                    given.next().map_or_else(|| vec![0.0; length], |(.., values)| std::mem::take(values));
                for piece in all.chunks_mut(exchange::BUCKET) {
                    piece.copy_from_slice(&ranks::of_root(ranks, piece.to_vec())?);
                }
                if owner == rank {
                    *values = all;
                }
            }
        }
        Ok(())
    }
}
