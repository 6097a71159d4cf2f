//! Weights between a network and its optimiser.

use burn::module::Module;

use super::objective::Objective;
use super::optimizer::{self, EmaConfig, Optimizer};
use crate::nn::parameters;

/// An optimiser for the parameters that the objective trains.
pub(super) fn optimizer<N: Module + Sync, O: Objective<N>>(objective: &O, network: &N) -> Optimizer {
    let mut trained = parameters::named_parameters(network);
    trained.retain(|parameter| objective.trains(&parameter.name));
    Optimizer::new(trained, objective.training().optimizer.clone())
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
    // The optimiser was made by visiting the same network, so the order is the same.
    let mut values: Box<dyn Iterator<Item = optimizer::ParameterValues<'_>>> = match weights {
        Weights::Averaged => Box::new(optimizer.average(0).into_iter().flatten()),
        Weights::Current => Box::new(optimizer.values()),
    };
    let mut next = values.next();
    parameters::replace(network, |name, _| {
        let (_, _, found) = next.take_if(|(own, ..)| *own == name)?;
        next = values.next();
        Some(found.to_vec())
    })
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
