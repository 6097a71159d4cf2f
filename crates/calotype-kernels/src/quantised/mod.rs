//! Matrices in fewer bits than a float has: blocks of bytes that become f32 piece by piece, where a product reads them.
//!
//! What blocks mean is known to whoever reads them from a file, and comes as a function. [`storage`] makes such a matrix
//! a tensor of burn's.

mod storage;

use std::fmt::{Debug, Formatter};
use std::ops::Range;

use burn_std::Bytes;
use rayon::prelude::*;

use crate::grouped;
use crate::isa::Isa;
use crate::memory::Buffer;

pub(crate) use storage::of;

/// Numbers of a row that are unpacked together, about: with those of a panel's other rows they stay in a first level
/// cache.
const STRETCH: usize = 256;
/// Numbers that a thread unpacks at a time where all are asked for, about.
const PIECE: usize = 1 << 16;

/// From whole blocks to as many numbers.
pub type Unpack = dyn Fn(&[u8], &mut [f32]) + Send + Sync;

/// Adds to the numbers of a row, from a column on: (row, column, numbers).
pub type Add = dyn Fn(usize, usize, &mut [f32]) + Send + Sync;

/// A matrix whose rows are whole blocks, one after another.
pub struct QuantisedMatrix {
    bytes: Bytes,
    rows: usize,
    columns: usize,
    /// Numbers of a block.
    numbers: usize,
    /// Bytes of a block.
    size: usize,
    unpack: Box<Unpack>,
    /// What is added to the unpacked numbers.
    add: Option<Box<Add>>,
}

impl QuantisedMatrix {
    /// - `bytes`: often of a mapped file, which lives as long as the matrix.
    /// - `block`: numbers of a block, and its bytes.
    ///
    /// `None` if a row is not a whole number of blocks, or the bytes are not as many as the rows take.
    pub fn new(
        bytes: Bytes,
        [rows, columns]: [usize; 2],
        (numbers, size): (usize, usize),
        unpack: Box<Unpack>,
    ) -> Option<Self> {
        let blocks = columns.checked_div(numbers)?;
        let fits = columns > 0 && size > 0 && columns.is_multiple_of(numbers);
        let length = rows.checked_mul(blocks)?.checked_mul(size)?;
        let known = rows.checked_mul(columns)?.checked_mul(size_of::<f32>()).is_some();
        (fits && known && length == bytes.len()).then_some(Self {
            bytes,
            rows,
            columns,
            numbers,
            size,
            unpack,
            add: None,
        })
    }

    /// The same matrix with something added to its numbers wherever they are unpacked.
    pub fn adding(self, add: Box<Add>) -> Self {
        Self { add: Some(add), ..self }
    }

    /// Numbers.
    fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Numbers `first..first + to.len()` of a row, both whole blocks.
    fn unpack(&self, row: usize, first: usize, to: &mut [f32]) {
        let block = (row * self.columns + first) / self.numbers;
        let packed = &self.bytes[block * self.size..][..to.len() / self.numbers * self.size];
        (self.unpack)(packed, to);
        if let Some(add) = &self.add {
            add(row, first, to);
        }
    }

    /// All numbers, row by row.
    fn unpacked(&self) -> Vec<f32> {
        let rows = (PIECE / self.columns).max(1);
        let mut values = vec![0.0; self.len()];
        values.par_chunks_mut(rows * self.columns).enumerate().for_each(|(piece, values)| {
            let each = values.chunks_mut(self.columns).enumerate();
            each.for_each(|(row, values)| self.unpack(piece * rows + row, 0, values));
        });
        values
    }

    /// Some of the rows, in the order in which they are asked for.
    ///
    /// # Panics
    /// For a row that it does not have.
    pub(crate) fn rows(&self, rows: &[usize]) -> Buffer {
        let mut values = Buffer::any(rows.len() * self.columns);
        let each = values.par_chunks_mut(self.columns).zip(rows);
        each.for_each(|(values, &row)| self.unpack(row, 0, values));
        values
    }

    /// y = x Wᵀ + b, the numbers of [`crate::linear::forward`] with the unpacked matrix. `x`: `[rows, columns of W]`.
    pub fn linear(&self, isa: Isa, x: &[f32], bias: &[f32]) -> Buffer {
        assert_eq!(bias.len(), self.rows, "a bias for each row");
        grouped::forward(isa, x, bias, self.columns, |panel, rows| self.panel(isa, panel, rows))
    }

    /// A panel of the product's B: Wᵀ's columns `rows`, in pairs where `isa` takes these.
    fn panel(&self, isa: Isa, panel: &mut [f32], rows: Range<usize>) {
        let stretch = STRETCH.next_multiple_of(2 * self.numbers);
        let read = |row, first, to: &mut [f32]| self.unpack(row, first, to);
        grouped::panel(isa, panel, (rows, self.columns), stretch, read);
    }
}

impl Debug for QuantisedMatrix {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let Self { rows, columns, numbers, size, .. } = self;
        write!(f, "QuantisedMatrix {{ {rows} × {columns}, blocks of {numbers} in {size} bytes }}")
    }
}

#[cfg(test)]
mod tests;
