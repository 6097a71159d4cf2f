//! A matrix of LoHa or LoKr, by the tensors that it is made of.

use rayon::prelude::*;

use super::LoraFile;
use super::delta::{Numbers, Result, add_product};
use super::key::{Layer, Role};

/// A matrix `[rows, columns]`. That of a kernel `[out, in, k, k]` has `in·k·k` columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// As it is.
    Whole(String),
    /// M = a·b.
    Product {
        /// `[rows, rank]`.
        a: String,
        /// `[rank, columns]`.
        b: String,
    },
    /// Tucker's form of a kernel: M[o, i] = Σ_pq core[p, q] · a[p, o] · b[q, i].
    ///
    /// Hyeon-Woo et al. 2022, arXiv:2108.06098, Proposition 3: core ×₁ a ×₂ b.
    Tucker {
        /// `[rank, out]`.
        a: String,
        /// `[rank, in]`.
        b: String,
        /// `[rank, rank, k, k]`.
        core: String,
    },
}

/// The roles of the tensors that a matrix may be made of.
pub(super) struct MatrixRoles {
    pub whole: Option<Role>,
    pub a: Role,
    pub b: Role,
    pub core: Option<Role>,
}

impl MatrixRoles {
    /// Whether a layer has any of them.
    pub fn any(&self, layer: &Layer) -> bool {
        let roles = [self.whole, Some(self.a), Some(self.b), self.core];
        roles.into_iter().flatten().any(|role| layer.get(role).is_some())
    }

    /// The matrix of a layer.
    ///
    /// # Errors
    /// `Error::Format` for a tensor without those that belong to it, and for a matrix that is there twice.
    pub fn matrix(&self, layer: &Layer, file: LoraFile) -> crate::error::Result<Matrix> {
        let get = |role: Option<Role>| role.and_then(|role| layer.get(role));
        let part = [Some(self.a), Some(self.b), self.core].into_iter().find_map(get);
        match (get(self.whole), part) {
            (Some(whole), None) => return Ok(Matrix::Whole(whole.clone())),
            (Some(whole), Some(part)) => {
                return Err(file.fault(format!("`{whole}` and `{part}` are the same matrix twice")));
            }
            (None, _) => {}
        }
        let (a, b) = (layer.expect(self.a, file)?, layer.expect(self.b, file)?);
        Ok(match get(self.core).cloned() {
            Some(core) => Matrix::Tucker { a, b, core },
            None => Matrix::Product { a, b },
        })
    }
}

impl Matrix {
    /// The tensor that has its rows, which is its name in messages.
    pub(super) fn of_rows(&self) -> &str {
        match self {
            Self::Whole(tensor) | Self::Product { a: tensor, .. } | Self::Tucker { a: tensor, .. } => tensor,
        }
    }

    /// The tensor that has its columns.
    pub(super) fn of_columns(&self) -> &str {
        match self {
            Self::Whole(tensor) | Self::Product { b: tensor, .. } | Self::Tucker { b: tensor, .. } => tensor,
        }
    }

    /// How many rows it has.
    pub(super) fn rows(&self, numbers: Numbers) -> Result<usize> {
        match self {
            Self::Whole(tensor) | Self::Product { a: tensor, .. } => numbers.size(tensor, 0),
            Self::Tucker { a, .. } => numbers.size(a, 1),
        }
    }

    /// All its numbers, row by row.
    pub(super) fn dense(&self, numbers: Numbers) -> Result<Vec<f32>> {
        match self {
            Self::Whole(tensor) => numbers.of(tensor),
            Self::Product { a, b } => {
                let rank = numbers.size(b, 0)?;
                let (a, b) = (numbers.of(a)?, numbers.of(b)?);
                let mut dense = vec![0.0; a.len() / rank * (b.len() / rank)];
                add_product(&a, &b, rank, 1.0, &mut dense);
                Ok(dense)
            }
            Self::Tucker { a, b, core } => {
                let ranks = (numbers.size(a, 0)?, numbers.size(b, 0)?);
                Ok(tucker(&numbers.of(a)?, &numbers.of(b)?, &numbers.of(core)?, ranks))
            }
        }
    }
}

/// M[o, i, :] = Σ_pq core[p, q, :] · a[p, o] · b[q, i], for p and q below `ranks`.
fn tucker(a: &[f32], b: &[f32], core: &[f32], (p, q): (usize, usize)) -> Vec<f32> {
    let (rows, columns, places) = (a.len() / p, b.len() / q, core.len() / p / q);
    let mut dense = vec![0.0; rows * columns * places];
    dense.par_chunks_mut(columns * places).enumerate().for_each(|(o, row)| {
        // Σ_p core[p, q, :] · a[p, o]
        let mut core_of_row = vec![0.0_f32; q * places];
        for (core, a) in core.chunks(q * places).zip(a.chunks(rows)) {
            core_of_row.iter_mut().zip(core).for_each(|(sum, core)| *sum += a[o] * core);
        }
        for (core, b) in core_of_row.chunks(places).zip(b.chunks(columns)) {
            for (to, b) in row.chunks_mut(places).zip(b) {
                to.iter_mut().zip(core).for_each(|(m, core)| *m += b * core);
            }
        }
    });
    dense
}
