//! The optimiser where the network runs: weights, moments and averages as tensors, updated there.
//!
//! [`Optimizer`] stays what is saved, resumed and averaged into a model. It hands its numbers to an [`OnDevice`] and takes
//! them back when somebody looks; between two looks nothing of them passes through the host's memory.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::{EmaConfig, Moment, Optimizer, OptimizerConfig, Slot, UpdateRule, clipping, muon};
use crate::error::Result;
use crate::nn::parameters::refill_tensors;
use crate::trainer::device_gradients::DeviceGradients;

/// A parameter with its moments and its averages, each a tensor of as many numbers.
#[derive(Debug, Clone)]
struct DeviceSlot {
    name: String,
    shape: Vec<usize>,
    rate_factor: f64,
    weight_decay: f64,
    value: Tensor<1>,
    moments: Vec<Tensor<1>>,
    averages: Vec<Tensor<1>>,
}

/// What the update of a parameter needs to know of the step.
#[derive(Clone, Copy)]
struct Rates {
    /// Steps taken, this one among them.
    n: f64,
    /// Of this parameter.
    learning_rate: f64,
    /// 1 − ηλ.
    keep: f32,
}

/// An optimiser of one process on a device. Its rules are those of [`Optimizer`], in f32 and in the order of the
/// device's operations.
#[derive(Debug, Clone)]
pub struct OnDevice {
    config: OptimizerConfig,
    emas: Vec<EmaConfig>,
    steps: usize,
    slots: Vec<DeviceSlot>,
}

impl OnDevice {
    /// Whether its rule is written for a device: all but Adafactor.
    pub fn takes(optimizer: &Optimizer) -> bool {
        optimizer.config.rule != UpdateRule::Adafactor
    }

    /// A copy of `optimizer` on `device`, of one that it [takes](OnDevice::takes).
    pub fn new(optimizer: &Optimizer, device: &Device) -> Option<Self> {
        if !Self::takes(optimizer) {
            return None;
        }
        let uploaded =
            |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device);
        let slot = |slot: &Slot| DeviceSlot {
            name: slot.name.clone(),
            shape: slot.shape.clone(),
            rate_factor: slot.rate_factor,
            weight_decay: slot.weight_decay(&optimizer.config),
            value: uploaded(&slot.value),
            moments: slot.moments.iter().map(|moment| uploaded(&moment.values)).collect(),
            averages: slot.averages.iter().map(uploaded).collect(),
        };
        let slots = optimizer.slots.iter().map(slot).collect();
        let (config, emas) = (optimizer.config.clone(), optimizer.emas.clone());
        Some(Self { config, emas, steps: optimizer.steps, slots })
    }

    /// One step, as [`Optimizer::step`], by the squares of the gradients that the host has read.
    ///
    /// # Errors
    /// As there.
    pub fn step(&mut self, gradients: &DeviceGradients, learning_rate: f64) -> Result<f64> {
        let names = self.slots.iter().map(|slot| (slot.name.as_str(), slot.shape.as_slice()));
        gradients.require(names)?;
        let norm = clipping::norm(|i| gradients.name(i), gradients.squares(), self.steps)?;
        let clip = clipping::factor(norm, self.config.max_gradient_norm);
        self.steps += 1;
        let emas: Vec<(EmaConfig, f64)> = self.emas.iter().map(|ema| (*ema, ema.decay(self.steps))).collect();
        for (slot, gradient) in self.slots.iter_mut().zip(gradients.values()) {
            let gradient = gradient.clone() * clip;
            let learning_rate = learning_rate * slot.rate_factor;
            let keep = (1.0 - learning_rate * slot.weight_decay) as f32;
            let rates = Rates { n: self.steps as f64, learning_rate, keep };
            match (self.config.rule, slot.moments.len()) {
                (UpdateRule::Lion, _) => lion(&self.config, rates, slot, gradient),
                (UpdateRule::Muon, 1) => muon(&self.config, rates, slot, gradient),
                _ => adamw(&self.config, rates, slot, gradient),
            }
            for ((ema, beta), average) in emas.iter().zip(&mut slot.averages) {
                *average = averaged(*ema, *beta, average.clone(), slot.value.clone());
            }
        }
        Ok(norm)
    }

    /// As [`Optimizer::bound`].
    pub fn bound(&mut self, name: &str, largest: f32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.name == name) {
            for values in std::iter::once(&mut slot.value).chain(&mut slot.averages) {
                *values = values.clone().clamp_max(largest);
            }
        }
    }

    /// `network` with the current weights; those that are not trained stay.
    pub fn fill<M: Module>(&self, network: M) -> M {
        let values = self.slots.iter().map(|slot| (slot.name.as_str(), &slot.value));
        let mut next = values.peekable();
        refill_tensors(network, |name, _| {
            next.next_if(|(own, _)| *own == name).map(|(_, value)| value.clone())
        })
    }
}

impl Optimizer {
    /// Takes over all numbers of `on_device`, which was made of this one.
    pub fn take_back(&mut self, on_device: &OnDevice) {
        let read = |tensor: &Tensor<1>| tensor.to_data().iter::<f32>().collect::<Vec<f32>>();
        for (slot, there) in self.slots.iter_mut().zip(&on_device.slots) {
            slot.value = read(&there.value);
            for (Moment { values, .. }, moment) in slot.moments.iter_mut().zip(&there.moments) {
                *values = read(moment);
            }
            slot.averages = there.averages.iter().map(read).collect();
        }
        self.steps = on_device.steps;
    }
}

/// See [`super::adamw`].
fn adamw(config: &OptimizerConfig, rates: Rates, slot: &mut DeviceSlot, g: Tensor<1>) {
    let [beta_1, beta_2] = config.betas();
    let step_size = (rates.learning_rate / (1.0 - beta_1.powf(rates.n))) as f32;
    let root_correction = (1.0 / (1.0 - beta_2.powf(rates.n)).sqrt()) as f32;
    let (beta_1, beta_2) = (beta_1 as f32, beta_2 as f32);

    let [m, v] = slot.moments.as_mut_slice() else { unreachable!("AdamW has two moments") };
    *m = m.clone() * beta_1 + g.clone() * (1.0 - beta_1);
    *v = v.clone() * beta_2 + g.square() * (1.0 - beta_2);
    let divisor = v.clone().sqrt() * root_correction + config.epsilon() as f32;
    slot.value = slot.value.clone() * rates.keep - m.clone() * step_size / divisor;
}

/// See [`super::lion`].
fn lion(config: &OptimizerConfig, rates: Rates, slot: &mut DeviceSlot, g: Tensor<1>) {
    let [beta_1, beta_2] = config.betas();
    let [rest_1, rest_2] = [(1.0 - beta_1) as f32, (1.0 - beta_2) as f32];
    let (beta_1, beta_2) = (beta_1 as f32, beta_2 as f32);

    let [m] = slot.moments.as_mut_slice() else { unreachable!("Lion has one moment") };
    let direction = (m.clone() * beta_1 + g.clone() * rest_1).sign();
    slot.value = slot.value.clone() * rates.keep - direction * rates.learning_rate as f32;
    *m = m.clone() * beta_2 + g * rest_2;
}

/// See [`super::muon`].
fn muon(config: &OptimizerConfig, rates: Rates, slot: &mut DeviceSlot, g: Tensor<1>) {
    let [m] = slot.moments.as_mut_slice() else { unreachable!("Muon has one moment") };
    let momentum = config.momentum();
    let (keep_m, rest) = (momentum as f32, (1.0 - momentum) as f32);
    *m = m.clone() * keep_m + g.clone() * rest;
    let look_ahead = m.clone() * keep_m + g * rest;

    let numbers: usize = slot.shape.iter().product();
    let (rows, columns) = (slot.shape[0], numbers / slot.shape[0].max(1));
    let direction = orthogonalized(look_ahead.reshape([rows, columns])).reshape([numbers]);
    let (rate, decay) = muon::rates(config, rates.learning_rate, slot.weight_decay, [rows, columns]);
    slot.value = slot.value.clone() * decay - direction * rate;
}

/// About UVᵀ of a matrix USVᵀ, see [`calotype_kernels::newton_schulz`]: X ← (aI + bG + cG²)X with G = XXᵀ, five times.
fn orthogonalized(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    if rows > columns {
        return orthogonalized(x.transpose()).transpose();
    }
    let [a, b, c] = calotype_kernels::newton_schulz::COEFFICIENTS;
    // A matrix of zeros stays one.
    let norm = x.clone().square().sum().sqrt().clamp_min(f32::MIN_POSITIVE);
    let mut x = x / norm.unsqueeze();
    for _ in 0..calotype_kernels::newton_schulz::ITERATIONS {
        let gram = x.clone().matmul(x.clone().transpose());
        let polynomial = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + polynomial.matmul(x);
    }
    x
}

/// See [`EmaConfig::decay`].
fn averaged(ema: EmaConfig, beta: f64, average: Tensor<1>, value: Tensor<1>) -> Tensor<1> {
    match ema {
        EmaConfig::Decay(_) => {
            let decay = beta as f32;
            average * decay + value * (1.0 - decay)
        }
        EmaConfig::Power { .. } => average.clone() + (value - average) * (1.0 - beta) as f32,
    }
}

#[cfg(test)]
mod tests;
