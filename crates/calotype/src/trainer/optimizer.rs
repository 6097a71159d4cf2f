//! AdamW, gradient clipping and the moving average of the weights, in one pass over the parameters.

use std::collections::HashMap;

use burn::module::Module;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::parameters::{self, NamedTensor};

/// Settings of AdamW. Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment, β₁.
    pub beta_1: f64,
    /// Decay of the second moment, β₂.
    pub beta_2: f64,
    /// ε.
    pub epsilon: f64,
    /// λ, applied to matrices and kernels only: norms and biases keep their scale.
    pub weight_decay: f64,
    /// Largest Euclidean norm of all gradients together; larger ones are scaled down.
    pub max_gradient_norm: f64,
    /// Decay of the average of the weights; early steps use less, see [`AdamW::step`].
    pub ema_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            ema_decay: 0.999,
        }
    }
}

/// A parameter with its moments and its average.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    value: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    average: Vec<f32>,
}

/// The optimiser, which owns the weights.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    steps: usize,
    slots: Vec<Slot>,
}

impl AdamW {
    /// Moments zero, average equal to the weights.
    pub fn new<M: Module>(module: &M, config: AdamWConfig) -> Self {
        let slots = parameters::named_parameters(module)
            .into_iter()
            .map(|NamedTensor { name, shape, values }| Slot {
                name,
                shape,
                m: vec![0.0; values.len()],
                v: vec![0.0; values.len()],
                average: values.clone(),
                value: values,
            })
            .collect();
        Self { config, steps: 0, slots }
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One step with `learning_rate`; returns the gradients' norm before clipping.
    ///
    /// m = β₁m + (1−β₁)g, v = β₂v + (1−β₂)g², θ ← θ − η (m̂/(√v̂ + ε) + λθ), then
    /// average ← d·average + (1−d)·θ with d = min(`ema_decay`, (1 + n)/(10 + n)) after n steps, so
    /// that the random start is forgotten.
    ///
    /// # Errors
    /// `Error::NonFinite` naming the first gradient that is not finite; nothing has changed then.
    pub fn step(&mut self, gradients: &[NamedTensor], learning_rate: f64) -> Result<f64> {
        let mut sum_of_squares = 0.0f64;
        for gradient in gradients {
            let norm: f64 = gradient.values.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
            if !norm.is_finite() {
                let what = format!("gradient of `{}`", gradient.name);
                return Err(Error::NonFinite { what, step: self.steps, got: norm.to_string() });
            }
            sum_of_squares += norm;
        }
        let norm = sum_of_squares.sqrt();
        let clip = (self.config.max_gradient_norm / norm.max(1e-12)).min(1.0) as f32;
        self.steps += 1;
        let (config, n) = (&self.config, self.steps as f64);
        let correction_1 = 1.0 - config.beta_1.powf(n);
        let correction_2 = 1.0 - config.beta_2.powf(n);
        let decay = config.ema_decay.min((1.0 + n) / (10.0 + n)) as f32;
        let (beta_1, beta_2) = (config.beta_1 as f32, config.beta_2 as f32);
        let step_size = (learning_rate / correction_1) as f32;
        let root_correction = (1.0 / correction_2.sqrt()) as f32;
        let epsilon = config.epsilon as f32;

        self.slots.par_iter_mut().zip(gradients).for_each(|(slot, gradient)| {
            let weight_decay = if slot.shape.len() > 1 { config.weight_decay } else { 0.0 };
            let keep = (1.0 - learning_rate * weight_decay) as f32;
            let moments = slot.m.iter_mut().zip(&mut slot.v);
            let values = slot.value.iter_mut().zip(&mut slot.average);
            for (((m, v), (value, average)), g) in moments.zip(values).zip(&gradient.values) {
                let g = g * clip;
                *m = beta_1 * *m + (1.0 - beta_1) * g;
                *v = beta_2 * *v + (1.0 - beta_2) * g * g;
                *value = *value * keep - step_size * *m / (v.sqrt() * root_correction + epsilon);
                *average = decay * *average + (1.0 - decay) * *value;
            }
        });
        Ok(norm)
    }

    /// Refuses weights that have overflowed, which a finite gradient can do at too high a rate.
    ///
    /// # Errors
    /// `Error::NonFinite` naming the first parameter that is not finite.
    pub fn check_finite(&self) -> Result<()> {
        for slot in &self.slots {
            if let Some(bad) = slot.value.iter().chain(&slot.average).find(|x| !x.is_finite()) {
                let what = format!("parameter `{}`", slot.name);
                return Err(Error::NonFinite { what, step: self.steps, got: bad.to_string() });
            }
        }
        Ok(())
    }

    /// Changes the weights called `name` in place (CLIP's temperature has an upper bound).
    pub fn constrain(&mut self, name: &str, constraint: impl Fn(f32) -> f32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.name == name) {
            slot.value.iter_mut().chain(&mut slot.average).for_each(|x| *x = constraint(*x));
        }
    }

    /// `module` with the current weights.
    pub fn current<M: Module>(&self, module: M) -> M {
        self.fill(module, |slot| &slot.value)
    }

    /// `module` with the average of the weights: what sampling uses.
    pub fn averaged<M: Module>(&self, module: M) -> M {
        self.fill(module, |slot| &slot.average)
    }

    fn fill<M: Module>(&self, module: M, values: impl Fn(&Slot) -> &Vec<f32>) -> M {
        // Slots were made by visiting the same module, so the order is the same.
        let mut slots = self.slots.iter();
        parameters::replace(module, |_, _| slots.next().map(|slot| values(slot).clone()))
    }

    /// Everything that a resume needs.
    pub fn state(&self) -> Vec<NamedTensor> {
        let tensor = |kind: &str, slot: &Slot, values: &Vec<f32>| NamedTensor {
            name: format!("{kind}.{}", slot.name),
            shape: slot.shape.clone(),
            values: values.clone(),
        };
        self.slots
            .iter()
            .flat_map(|slot| {
                [
                    tensor("value", slot, &slot.value),
                    tensor("m", slot, &slot.m),
                    tensor("v", slot, &slot.v),
                    tensor("average", slot, &slot.average),
                ]
            })
            .collect()
    }

    /// Goes back to a state that [`AdamW::state`] gave after `steps` steps.
    ///
    /// # Errors
    /// `Error::Weights` if the state is of another network.
    pub fn restore(
        &mut self,
        path: &std::path::Path,
        mut state: HashMap<String, NamedTensor>,
        steps: usize,
    ) -> Result<()> {
        for slot in &mut self.slots {
            let mut take = |kind: &str| {
                let tensor = format!("{kind}.{}", slot.name);
                let wrong = |got: String| Error::Weights {
                    model: "training state",
                    path: path.to_owned(),
                    tensor: tensor.clone(),
                    expected: format!("{:?}", slot.shape),
                    got,
                };
                let found = state.remove(&tensor).ok_or_else(|| wrong("no such tensor".into()))?;
                let fits = found.values.len() == slot.value.len();
                if fits { Ok(found.values) } else { Err(wrong(format!("{:?}", found.shape))) }
            };
            slot.m = take("m")?;
            slot.v = take("v")?;
            slot.average = take("average")?;
            slot.value = take("value")?;
        }
        self.steps = steps;
        Ok(())
    }
}
