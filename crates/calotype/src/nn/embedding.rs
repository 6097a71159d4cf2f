//! Vectors by number: tokens, positions.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use super::Init;

/// A table with one row for each number.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[count, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Rows ~ N(0, `std`²).
    pub fn normal(count: usize, width: usize, std: f64, init: &mut Init) -> Self {
        Self { weight: init.normal([count, width], std) }
    }

    /// The rows of `ids` `[B, L]`, each below the count: `[B, L, width]`. The table may be stored in fewer bits than
    /// the features.
    pub fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        calotype_kernels::embedding(self.weight.val(), ids)
    }
}
