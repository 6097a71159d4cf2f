//! A matrix of LoHa or LoKr, by the tensors that it is made of.

use super::LoraFile;
use super::delta::{Numbers, Result, add_product, add_tucker};
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
                let (ranks, rows) = ((numbers.size(a, 0)?, numbers.size(b, 0)?), numbers.size(a, 1)?);
                let (a, b, core) = (numbers.of(a)?, numbers.of(b)?, numbers.of(core)?);
                let mut dense = vec![0.0; rows * (b.len() / ranks.1) * (core.len() / (ranks.0 * ranks.1))];
                add_tucker(&core, |o, p| a[p * rows + o], &b, ranks, 1.0, &mut dense);
                Ok(dense)
            }
        }
    }
}
