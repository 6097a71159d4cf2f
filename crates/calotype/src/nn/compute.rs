//! Where a network runs and in which arithmetic.
//!
//! A value that it is made with and keeps, so that the networks of one process may differ.

use burn::tensor::Device;
pub use calotype_kernels::Products;
use calotype_kernels::{has_kernels, has_products};

use crate::error::{Error, Result};
use crate::files::{Storage, StoredTensor};
use crate::named::{named_enum, serde_by_name};

named_enum! {
    /// Precision of the operands of products, as it is asked for; sums, and everything else, are in f32.
    #[derive(Default)]
    pub enum Precision: "precision" {
        #[default]
        F32 = "f32": "24 significant bits",
        Bf16 = "bf16": "8 significant bits, multiplied so on processors with AMX or an AVX512-BF16 that is faster than f32, and on GPUs that have such numbers",
    }
}

serde_by_name!(Precision);

impl Precision {
    /// As a network has it: where such instructions are missing or slow the kernels multiply in f32.
    pub fn products(self) -> Products {
        match self {
            Self::F32 => Products::F32,
            Self::Bf16 => Products::Bf16,
        }
    }

    /// The same, only where the device multiplies so. `what`: the setting, for the message.
    ///
    /// # Errors
    /// `Error::Argument` where it does not.
    pub fn required(self, what: &str, device: &Device) -> Result<Products> {
        let products = self.products();
        if has_products(device, products) {
            return Ok(products);
        }
        let expected = if has_kernels(device) {
            "f32: this processor has neither AMX nor an AVX512-BF16 that is faster"
        } else {
            "f32: this device does not compute with bf16"
        };
        Err(Error::argument(what, expected, self))
    }
}

/// Device and precision of a network. [`Init`](super::Init) hands both to every layer that it makes, and whoever reads
/// a network from files takes them. A device alone stands for products in f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compute {
    /// Where the network runs.
    pub device: Device,
    /// Precision of the operands of its linear maps, convolutions and attention.
    pub products: Products,
}

impl Compute {
    /// Both.
    pub fn new(device: &Device, products: Products) -> Self {
        Self { device: device.clone(), products }
    }
}

impl From<&Device> for Compute {
    fn from(device: &Device) -> Self {
        Self::new(device, Products::F32)
    }
}

impl From<&Compute> for Compute {
    fn from(compute: &Compute) -> Self {
        compute.clone()
    }
}

/// How a device holds a parameter of `dimensions` dimensions that a file has as `stored`. Matrices and kernels stay as
/// they are where our kernels read them so, or the device knows such numbers; vectors (biases, norms) become f32. Packed
/// matrices count as f32, which is what they are for all but the kernels ([`StoredTensor::into_tensor`]).
///
/// [`StoredTensor::into_tensor`]: crate::files::StoredTensor::into_tensor
pub fn held_as(stored: Storage, dimensions: usize, device: &Device) -> Storage {
    let reads = || has_kernels(device) || device.supports_dtype(stored.dtype());
    if dimensions >= 2 && reads() { stored } else { Storage::F32 }
}

/// Bytes of a parameter that a file has as `tensor` on a device that [holds](held_as) it.
pub fn held_bytes(tensor: &StoredTensor, device: &Device) -> usize {
    let numbers: usize = tensor.shape().iter().product();
    numbers * held_as(tensor.storage(), tensor.shape().len(), device).size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_holds_matrices_as_they_are_stored_and_vectors_in_f32() {
        let of = |shape: &[usize], storage: Storage| {
            let numbers: usize = shape.iter().product();
            StoredTensor::copied(shape.to_vec(), storage, &vec![0; numbers * storage.size()]).unwrap()
        };
        let bytes = |shape: &[usize], storage| held_bytes(&of(shape, storage), &Device::flex());
        assert_eq!(bytes(&[2, 3], Storage::F16), 12);
        assert_eq!(bytes(&[2, 3], Storage::F32), 24);
        assert_eq!(bytes(&[6], Storage::F16), 24);
    }
}
