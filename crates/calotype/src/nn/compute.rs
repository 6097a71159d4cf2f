//! Where a network runs and in which arithmetic: a value that it is made with and keeps, so that the networks of one
//! process may differ.

use burn::tensor::Device;
pub use calotype_kernels::Products;

use crate::files::Storage;

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
/// they are where our kernels read them so; vectors (biases, norms), and everything on other devices, become f32.
pub fn held_as(stored: Storage, dimensions: usize, device: &Device) -> Storage {
    if dimensions >= 2 && calotype_kernels::has_kernels(device) { stored } else { Storage::F32 }
}
