//! Sums of tensors, number by number, in one pass over memory.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;

/// Numbers in one piece of work.
const PIECE: usize = 16 * 1024;

/// a + b, of equal length.
pub fn add(isa: Isa, a: &[f32], b: &[f32]) -> Buffer {
    assert_eq!(a.len(), b.len(), "sum of tensors of different length");
    let mut sum = Buffer::any(a.len());
    let pieces = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
    sum.par_chunks_mut(PIECE).zip(pieces).for_each(|(sum, (a, b))| add_piece(isa, a, b, sum));
    sum
}

/// sum += x, of equal length.
pub fn add_assign(isa: Isa, sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "sum of tensors of different length");
    sum.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(sum, x)| add_assign_piece(isa, x, sum));
}

/// x + row for every row of `x`; whatever is `row.len()` numbers long may be the row.
pub fn add_rows(isa: Isa, x: &[f32], row: &[f32]) -> Buffer {
    let mut sum = Buffer::any(x.len());
    let rows = (PIECE / row.len()).max(1) * row.len();
    sum.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(sum, x)| {
        for (sum, x) in sum.chunks_exact_mut(row.len()).zip(x.chunks_exact(row.len())) {
            add_piece(isa, x, row, sum);
        }
    });
    sum
}

by_isa! {
    fn add_piece(a: &[f32], b: &[f32], sum: &mut [f32]) {
        for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
            *sum = a + b;
        }
    }
}

by_isa! {
    /// sum += x.
    pub(crate) fn add_assign_piece(x: &[f32], sum: &mut [f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}
