//! The samples of one step.

use std::ops::Range;

use super::recipe::TrainingRecipe;
use crate::data::source::{Damaged, Item};
use crate::error::Result;

/// The samples of one step, or those that this rank has of them.
#[derive(Debug, Clone)]
pub struct Batch<S> {
    /// Equal shares, whose gradients are averaged.
    pub shares: Vec<S>,
    /// Number of the first of them in the whole batch.
    pub first: usize,
    /// Shares of the whole batch.
    pub of: usize,
    /// What each sample is called, in the order of the shares.
    pub items: Vec<String>,
    /// The captions, where they matter.
    pub captions: Vec<String>,
    /// Pictures that could not be read.
    pub damaged: Vec<Damaged>,
}

impl<S: Default> Batch<S> {
    /// The `shares` of the batch of `step`: of each position the `item`, which `add` adds to its share as `(share, position, image,
    /// caption)`. The first share of the first batch tells what is `left_out` of the data.
    ///
    /// # Errors
    /// Those of `item`.
    pub fn assemble<I>(
        training: &TrainingRecipe,
        step: usize,
        shares: Range<usize>,
        left_out: &[Damaged],
        item: impl Fn(u64) -> Result<Item<I>>,
        add: impl Fn(&mut S, u64, I, &str),
    ) -> Result<Self> {
        let damaged = if step == 0 && shares.start == 0 { left_out.to_vec() } else { vec![] };
        let (first, of) = (shares.start, training.parts);
        let mut batch = Self { shares: vec![], first, of, items: vec![], captions: vec![], damaged };
        for positions in training.positions(step).skip(first).take(shares.len()) {
            let mut share = S::default();
            for position in positions {
                let Item { image, caption, name, damaged, .. } = item(position)?;
                add(&mut share, position, image, &caption);
                batch.captions.push(caption);
                batch.items.push(name);
                batch.damaged.extend(damaged);
            }
            batch.shares.push(share);
        }
        Ok(batch)
    }
}
