//! Initial weights: PyTorch's defaults, each parameter from its own Philox stream.

use burn::module::{Param, ParamId};
use burn::tensor::{Bytes, Device, Tensor, TensorData};

use super::compute::held_as;
use super::{Compute, Products};
use crate::files::{Storage, StoredTensor};
use crate::rng::{Philox, Purpose};

/// Makes the parameters of a network in a fixed order, so that parameter n of seed s has the same
/// values whatever the device or thread count; and tells its layers in which arithmetic they compute.
#[derive(Debug)]
pub struct Init {
    compute: Compute,
    storage: Storage,
    seed: Option<u64>,
    next: u64,
}

impl Init {
    /// Random weights of `seed`. `compute`: a device alone stands for products in f32.
    pub fn random(seed: u64, compute: impl Into<Compute>) -> Self {
        Self { compute: compute.into(), storage: Storage::F32, seed: Some(seed), next: 0 }
    }

    /// Zeros, made when they are first looked at: for weights that a file will replace. `compute` as above.
    pub fn zeros(compute: impl Into<Compute>) -> Self {
        Self { compute: compute.into(), storage: Storage::F32, seed: None, next: 0 }
    }

    /// Matrices and kernels rounded to `storage`, where the device holds them so: what a model has that was read from a
    /// file of such numbers.
    pub fn stored_as(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// Precision of the products of the network that is made.
    pub fn products(&self) -> Products {
        self.compute.products
    }

    /// Uniform in ±1/√fan_in: PyTorch's default for `nn.Linear` and `nn.Conv2d`, weight and bias.
    pub fn fan_in<const D: usize>(&mut self, shape: [usize; D], fan_in: usize) -> Param<Tensor<D>> {
        let bound = 1.0 / (fan_in as f64).sqrt();
        self.parameter(shape, |rng, n| (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect())
    }

    /// N(0, `std`²).
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.parameter(shape, |rng, n| {
            rng.normals(n).into_iter().map(|z| (f64::from(z) * std) as f32).collect()
        })
    }

    /// All equal to `value`.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.parameter(shape, |_, n| vec![value; n])
    }

    fn parameter<const D: usize>(
        &mut self,
        shape: [usize; D],
        fill: impl FnOnce(&mut Philox, usize) -> Vec<f32>,
    ) -> Param<Tensor<D>> {
        let stream = self.next;
        self.next += 1;
        let Some(seed) = self.seed else {
            let zeros = move |device: &Device, _: bool| Tensor::zeros(shape, device);
            return Param::uninitialized(
                ParamId::new(),
                zeros,
                self.compute.device.clone(),
                false,
                shape.into(),
            );
        };
        let values = fill(&mut Philox::new(seed, Purpose::Weights, stream), shape.iter().product());
        let device = &self.compute.device;
        let value = match held_as(self.storage, D, device) {
            Storage::F32 => Tensor::from_data(TensorData::new(values, shape), device),
            storage => {
                let stored = StoredTensor::new(shape.to_vec(), Storage::F32, Bytes::from_elems(values));
                stored.expect("as many values as the shape has").stored_as(storage).into_tensor(shape, device)
            }
        };
        Param::initialized(ParamId::new(), value)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;

    #[test]
    fn matrices_are_rounded_and_vectors_are_not() {
        let device = Device::flex();
        let [exact, halves] = [Storage::F32, Storage::F16].map(|storage| {
            let mut init = Init::random(3, &device).stored_as(storage);
            (init.fan_in([5, 8], 8).val(), init.normal([8], 1.0).val())
        });
        assert_eq!((halves.0.dtype(), halves.1.dtype()), (DType::F16, DType::F32));
        assert_eq!(halves.1.to_data(), exact.1.to_data());
        let exact: Vec<f32> = exact.0.to_data().iter().collect();
        let rounded: Vec<f32> = halves.0.to_data().iter().collect();
        assert!(exact.iter().zip(&rounded).all(|(x, half)| half::f16::from_f32(*x).to_f32() == *half));
        assert_ne!(exact, rounded);
    }
}
