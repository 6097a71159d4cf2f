//! Weights between a network and its optimiser.

use burn::module::Module;
use calotype_kernels::memory::Buffer;
use rayon::prelude::*;

use super::objective::Objective;
use super::optimizer::{self, EmaConfig, Optimizer};
use crate::error::Result;
use crate::nn::parameters;
use crate::ranks::Ranks;

/// An optimiser for the parameters that the objective trains.
pub(super) fn optimizer<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    network: &N,
    ranks: &dyn Ranks,
) -> Optimizer {
    let mut trained = parameters::named_parameters(network);
    trained.retain(|parameter| objective.trains(&parameter.name));
    Optimizer::among(trained, objective.training().optimizer.clone(), ranks)
        .with_rate_factors(|name| objective.rate_factor(name))
}

/// Which weights of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Those of the last step.
    Current,
    /// Their first average: what sampling uses.
    Averaged,
}

/// `network` with weights of the optimiser; those that are not trained stay.
pub fn fill<M: Module>(optimizer: &Optimizer, network: M, weights: Weights) -> M {
    let values: Vec<optimizer::ParameterValues<'_>> = match weights {
        Weights::Averaged => optimizer.average(0).into_iter().flatten().collect(),
        Weights::Current => optimizer.values().collect(),
    };
    let copies: Vec<Buffer> = values.par_iter().map(|(.., values)| Buffer::copy_of(values)).collect();
    // The optimiser was made by visiting the same network, so the order is the same.
    let mut next = values.iter().map(|(name, ..)| *name).zip(copies).peekable();
    parameters::refill(network, |name| next.next_if(|(own, _)| *own == name).map(|(_, copy)| copy))
}

/// `network` with the current weights of all ranks' parameters.
///
/// # Errors
/// `Error::Ranks`.
pub(super) fn fill_among<M: Module>(optimizer: &Optimizer, network: M, ranks: &dyn Ranks) -> Result<M> {
    if ranks.count() == 1 {
        return Ok(fill(optimizer, network, Weights::Current));
    }
    let all = optimizer.all_values(ranks)?;
    let mut next = optimizer.values().map(|(name, ..)| name).zip(all).peekable();
    Ok(parameters::refill(network, |name| next.next_if(|(own, _)| *own == name).map(|(_, values)| values)))
}

/// Names, shapes and values of the averages that any other can be reconstructed from.
pub(super) fn power_averages(optimizer: &Optimizer) -> impl Iterator<Item = (String, &[usize], &[f32])> {
    let emas = optimizer.emas().iter().enumerate();
    let power = emas.filter_map(|(i, ema)| match ema {
        EmaConfig::Power { sigma_rel } => Some((*sigma_rel, optimizer.average(i)?)),
        EmaConfig::Decay(_) => None,
    });
    power.flat_map(|(sigma_rel, average)| {
        average.map(move |(name, shape, values)| (format!("{sigma_rel}.{name}"), shape, values))
    })
}
