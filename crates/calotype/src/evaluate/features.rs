//! Feature vectors of a set of pictures: what every set metric compares.

use crate::error::{Error, Result};

/// Feature vectors `[n, dimension]`, row by row, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    dimension: usize,
    values: Vec<f64>,
}

impl Features {
    /// Vectors of `dimension` numbers.
    ///
    /// # Errors
    /// `Error::Shape` unless `rows` is whole vectors of at least one number; `Error::Data` if a
    /// value is not finite.
    pub fn new<T: Copy + Into<f64>>(rows: &[T], dimension: usize) -> Result<Self> {
        if dimension == 0 || !rows.len().is_multiple_of(dimension) {
            let expected = format!("rows of {dimension} numbers, at least one each");
            return Err(Error::shape("features", expected, format!("{} numbers", rows.len())));
        }
        let values: Vec<f64> = rows.iter().map(|&v| v.into()).collect();
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(Error::data("features", "finite numbers", value)),
            None => Ok(Self { dimension, values }),
        }
    }

    /// Number of vectors.
    pub fn n(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Numbers in a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All numbers, vector by vector.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Vector `i`.
    ///
    /// # Panics
    /// If `i` ≥ n.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.dimension..][..self.dimension]
    }

    /// Refuses two sets of different dimension: their extractors differ.
    pub(super) fn require_comparable(&self, reference: &Self) -> Result<()> {
        if self.dimension == reference.dimension {
            return Ok(());
        }
        let expected = format!("dimension {}, as the reference side", reference.dimension);
        Err(Error::shape("features of the generated side", expected, self.dimension))
    }
}
