//! The optimiser: an update rule, gradient clipping and moving averages of the weights.

mod adafactor;
mod adamw;
mod among;
mod clipping;
mod config;
pub mod ema;
mod lion;
mod muon;
mod on_device;
pub mod post_hoc_ema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

pub use among::Numbers;
pub use config::{OptimizerConfig, Refusal, UpdateRule};
pub use ema::EmaConfig;
pub use on_device::OnDevice;

use super::owners;
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::nn::parameters;
use crate::ranks::{Alone, Ranks};

/// What a rule remembers of a parameter: `m`, `v`, or `row` and `column`.
#[derive(Debug, Clone)]
struct Moment {
    kind: &'static str,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Moment {
    /// Without its numbers: another rank has them.
    fn elsewhere(kind: &'static str, shape: Vec<usize>) -> Self {
        Self { kind, shape, values: vec![] }
    }

    fn zero(kind: &'static str, shape: &[usize]) -> Self {
        Self { kind, shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }
}

/// A parameter with its moments and its averages.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    /// What it has of the learning rate.
    rate_factor: f64,
    /// The rank that updates it; the others have none of its numbers.
    owner: usize,
    value: Vec<f32>,
    moments: Vec<Moment>,
    averages: Vec<Vec<f32>>,
}

impl Slot {
    /// λ for matrices and kernels, 0 for norms and biases.
    fn weight_decay(&self, config: &OptimizerConfig) -> f64 {
        if self.shape.len() > 1 { config.weight_decay } else { 0.0 }
    }

    /// Numbers of the parameter.
    fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same without its numbers: another rank has them.
    fn elsewhere(&self) -> Self {
        let Self { name, shape, rate_factor, owner, .. } = self;
        let moment = |moment: &Moment| Moment::elsewhere(moment.kind, moment.shape.clone());
        Self {
            name: name.clone(),
            shape: shape.clone(),
            rate_factor: *rate_factor,
            owner: *owner,
            value: vec![],
            moments: self.moments.iter().map(moment).collect(),
            averages: vec![vec![]; self.averages.len()],
        }
    }

    /// Its tensors, in the order of [`Optimizer::state`]: what the name begins with, shape, numbers.
    fn tensors(&self) -> impl Iterator<Item = (String, &[usize], &[f32])> {
        let shape = self.shape.as_slice();
        let value = std::iter::once(("value".to_owned(), shape, self.value.as_slice()));
        let moments = self.moments.iter();
        let moments = moments.map(|moment| (moment.kind.to_owned(), &moment.shape[..], &moment.values[..]));
        let averages = self.averages.iter().enumerate();
        let averages = averages.map(move |(i, average)| (average_kind(i), shape, average.as_slice()));
        value.chain(moments).chain(averages)
    }

    /// The same, to be changed.
    fn tensors_mut(&mut self) -> impl Iterator<Item = (String, Vec<usize>, &mut Vec<f32>)> {
        let shape = self.shape.clone();
        let value = std::iter::once(("value".to_owned(), shape.clone(), &mut self.value));
        let moments = self.moments.iter_mut();
        let moments =
            moments.map(|moment| (moment.kind.to_owned(), moment.shape.clone(), &mut moment.values));
        let averages = self.averages.iter_mut().enumerate();
        let averages = averages.map(move |(i, average)| (average_kind(i), shape.clone(), average));
        value.chain(moments).chain(averages)
    }
}

/// What the update of a parameter needs to know of the step.
#[derive(Clone, Copy)]
struct Step<'a> {
    config: &'a OptimizerConfig,
    /// Steps taken, this one among them.
    n: f64,
    learning_rate: f64,
    /// What the gradients are multiplied by.
    clip: f32,
}

/// A parameter's name, shape and values.
pub type ParameterValues<'a> = (&'a str, &'a [usize], &'a [f32]);

/// The optimiser, which owns the weights.
///
/// Parameters are updated in parallel, each by one thread: a step has the same bits on any number of threads,
/// and so has a run that was stopped and goes on from [`state`](Self::state).
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    emas: Vec<EmaConfig>,
    steps: usize,
    slots: Vec<Slot>,
    /// Whose optimiser this is.
    rank: usize,
}

impl Optimizer {
    /// Moments zero, averages equal to the weights. `config` has passed [`OptimizerConfig::validate`].
    pub fn new(parameters: Vec<NamedTensor>, config: OptimizerConfig) -> Self {
        Self::among(parameters, config, &Alone)
    }

    /// The same, of which each rank updates a share of the parameters.
    pub fn among(parameters: Vec<NamedTensor>, config: OptimizerConfig, ranks: &dyn Ranks) -> Self {
        let emas = config.averages();
        let work = |NamedTensor { name, shape, values }: &NamedTensor| match config.rule {
            UpdateRule::AdamW | UpdateRule::Lion | UpdateRule::Adafactor => values.len(),
            UpdateRule::Muon => muon::work(name, shape),
        };
        let work: Vec<usize> = parameters.iter().map(work).collect();
        let (owners, rank) = (owners::owners(&work, ranks.count()), ranks.rank());
        let moments = |name: &str, shape: &[usize]| match config.rule {
            UpdateRule::AdamW => adamw::moments(shape),
            UpdateRule::Lion => lion::moments(shape),
            UpdateRule::Adafactor => adafactor::moments(shape),
            UpdateRule::Muon => muon::moments(name, shape),
        };
        let slot = |(NamedTensor { name, shape, values }, owner): (NamedTensor, usize)| {
            let moments = moments(&name, &shape);
            let (value, moments) = if owner == rank {
                (values, moments)
            } else {
                (vec![], moments.into_iter().map(|m| Moment::elsewhere(m.kind, m.shape)).collect())
            };
            let averages = vec![value.clone(); emas.len()];
            Slot { name, shape, rate_factor: 1.0, owner, value, moments, averages }
        };
        let slots = parameters.into_iter().zip(owners).map(slot).collect();
        Self { config, emas, steps: 0, slots, rank }
    }

    /// The same, where the parameter called `name` has `factor(name)` of the learning rate.
    pub fn with_rate_factors(mut self, factor: impl Fn(&str) -> f64) -> Self {
        self.slots.iter_mut().for_each(|slot| slot.rate_factor = factor(&slot.name));
        self
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One step with `learning_rate`; returns the gradients' norm before clipping. `gradients` are those of
    /// the parameters that the optimiser was made with, in their order.
    ///
    /// Gradients are scaled down to `max_gradient_norm`, then every parameter is updated by the rule, and
    /// then taken into its averages.
    ///
    /// # Errors
    /// `Error::Shape` if a gradient does not belong to the parameter in its place; `Error::NonFinite` naming
    /// the first gradient that is not finite. Nothing has changed then.
    pub fn step(&mut self, gradients: &[NamedTensor], learning_rate: f64) -> Result<f64> {
        self.step_among(gradients, learning_rate, &Alone)
    }

    /// The same of all ranks: each updates what it owns, by gradients that only it need have.
    ///
    /// # Errors
    /// As [`Optimizer::step`], on all ranks alike; `Error::Ranks`.
    pub fn step_among(
        &mut self,
        gradients: &[NamedTensor],
        learning_rate: f64,
        ranks: &dyn Ranks,
    ) -> Result<f64> {
        // Names and shapes are the same on every rank: all refuse, or none.
        self.require_own(gradients)?;
        let squares = self.all_squares(clipping::squares(gradients), ranks)?;
        let norm = clipping::norm(|i| &gradients[i].name, &squares, self.steps)?;
        let clip = clipping::factor(norm, self.config.max_gradient_norm);
        self.steps += 1;
        let step = Step { config: &self.config, n: self.steps as f64, learning_rate, clip };
        let update = match self.config.rule {
            UpdateRule::AdamW => adamw::update,
            UpdateRule::Lion => lion::update,
            UpdateRule::Adafactor => adafactor::update,
            UpdateRule::Muon => muon::update,
        };
        let emas: Vec<(EmaConfig, f64)> = self.emas.iter().map(|ema| (*ema, ema.decay(self.steps))).collect();

        // One by one: a matrix may cost Muon a thousand times what a bias does.
        let rank = self.rank;
        let all = self.slots.par_iter_mut().zip(gradients).with_max_len(1);
        all.filter(|(slot, _)| slot.owner == rank).for_each(|(slot, gradient)| {
            let step = Step { learning_rate: learning_rate * slot.rate_factor, ..step };
            update(&step, slot, &gradient.values);
            for ((ema, beta), average) in emas.iter().zip(&mut slot.averages) {
                ema.update(*beta, average, &slot.value);
            }
        });
        Ok(norm)
    }

    fn require_own(&self, gradients: &[NamedTensor]) -> Result<()> {
        if gradients.len() != self.slots.len() {
            return Err(Error::shape("gradients", self.slots.len(), gradients.len()));
        }
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let length = if slot.owner == self.rank { slot.value.len() } else { gradient.values.len() };
            let fits = slot.shape == gradient.shape && length == gradient.values.len();
            if slot.name != gradient.name || !fits {
                let expected = format!("`{}` {:?}", slot.name, slot.shape);
                let got =
                    format!("`{}` {:?} ({} numbers)", gradient.name, gradient.shape, gradient.values.len());
                return Err(Error::shape("gradient", expected, got));
            }
        }
        Ok(())
    }

    /// Refuses weights that have overflowed, which a finite gradient can do at too high a rate.
    ///
    /// # Errors
    /// `Error::NonFinite` naming the first parameter that is not finite.
    pub fn check_finite(&self) -> Result<()> {
        for slot in &self.slots {
            let all = slot.value.iter().chain(slot.averages.iter().flatten());
            if let Some(bad) = all.into_iter().find(|x| !x.is_finite()) {
                let what = format!("parameter `{}`", slot.name);
                return Err(Error::NonFinite { what, step: self.steps, got: bad.to_string() });
            }
        }
        Ok(())
    }

    /// Changes the weights called `name` and their averages in place (CLIP's temperature has an upper bound).
    pub fn constrain(&mut self, name: &str, constraint: impl Fn(f32) -> f32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.name == name) {
            let all = slot.value.iter_mut().chain(slot.averages.iter_mut().flatten());
            all.for_each(|x| *x = constraint(*x));
        }
    }

    /// The current weights, in the order of the parameters; of several ranks, nothing in the place of the others'.
    pub fn values(&self) -> impl Iterator<Item = ParameterValues<'_>> {
        self.slots.iter().map(|slot| (slot.name.as_str(), slot.shape.as_slice(), slot.value.as_slice()))
    }

    /// The averages' settings, in the order of [`average`](Self::average); at least one.
    pub fn emas(&self) -> &[EmaConfig] {
        &self.emas
    }

    /// Average `i` of the weights (from 0), in the order of the parameters; `None` if there are not as many.
    pub fn average(&self, i: usize) -> Option<impl Iterator<Item = ParameterValues<'_>>> {
        let weights = move |slot| {
            let Slot { name, shape, averages, .. }: &Slot = slot;
            (name.as_str(), shape.as_slice(), averages[i].as_slice())
        };
        (i < self.emas.len()).then(|| self.slots.iter().map(weights))
    }

    /// Numbers of the weights that are this rank's.
    pub fn weights(&self) -> usize {
        self.slots.iter().map(|slot| slot.value.len()).sum()
    }

    /// Numbers of all weights, moments and averages that are this rank's.
    pub fn numbers(&self) -> usize {
        let of_slot = |slot: &Slot| {
            let moments = slot.moments.iter().map(|moment| moment.values.len()).sum::<usize>();
            slot.value.len() * (1 + slot.averages.len()) + moments
        };
        self.slots.iter().map(of_slot).sum()
    }

    /// Names, shapes and values of everything that a resume needs: `value.`, the moments (`m.`, `v.`, `row.`,
    /// `column.`), `average.`, `average_2.` and so on, each followed by the parameter's name.
    pub fn state(&self) -> Vec<(String, &[usize], &[f32])> {
        let tensors = self.slots.iter().flat_map(|slot| slot.tensors().map(move |tensor| (slot, tensor)));
        tensors
            .map(|(slot, (kind, shape, values))| (format!("{kind}.{}", slot.name), shape, values))
            .collect()
    }

    /// Goes back to a state that [`state`](Self::state) gave after `steps` steps; `path` is for messages.
    ///
    /// # Errors
    /// `Error::Weights` if the state is of another network or other settings, or has a number that is not
    /// finite. The optimiser must not be used then: parameters before the one named have changed.
    pub fn restore(
        &mut self,
        path: &Path,
        mut state: HashMap<String, NamedTensor>,
        steps: usize,
    ) -> Result<()> {
        for slot in &mut self.slots {
            let name = slot.name.clone();
            for (kind, shape, values) in slot.tensors_mut() {
                let name = format!("{kind}.{name}");
                *values = parameters::take("training state", path, &mut state, &name, &shape)?;
            }
        }
        self.steps = steps;
        refuse_rest(path, &state)
    }
}

/// What the names of all averages begin with in a state.
const AVERAGE: &str = "average";

/// What the name of average `i` begins with in a state.
fn average_kind(i: usize) -> String {
    if i == 0 { AVERAGE.into() } else { format!("{AVERAGE}_{}", i + 1) }
}

/// A tensor that nobody took means that other settings wrote the state.
fn refuse_rest(path: &Path, rest: &HashMap<String, NamedTensor>) -> Result<()> {
    match rest.values().min_by(|a, b| a.name.cmp(&b.name)) {
        Some(tensor) => {
            let got = format!("{:?}", tensor.shape);
            Err(Error::weights("training state", path, &tensor.name, "no such tensor", got))
        }
        None => Ok(()),
    }
}
