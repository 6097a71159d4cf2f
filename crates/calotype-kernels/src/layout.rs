//! Pictures from one order of their numbers to the other.

use rayon::prelude::*;

use crate::memory::Buffer;

/// Rows of a matrix as its columns, for every `[rows, columns]` matrix of `x`: `[B, C, H·W]` to `[B, H·W, C]` and back.
pub fn transpose(x: &[f32], rows: usize, columns: usize) -> Buffer {
    // Places that are written together, so that what they read stays in the first level cache.
    const BLOCK: usize = 64;
    let mut y = Buffer::any(x.len());
    let matrix = rows * columns;
    y.par_chunks_mut(matrix).zip(x.par_chunks(matrix)).for_each(|(y, x)| {
        for (i, y) in y.chunks_mut(BLOCK * rows).enumerate() {
            for (row, x) in x.chunks_exact(columns).enumerate() {
                let x = &x[i * BLOCK..][..y.len() / rows];
                y[row..].iter_mut().step_by(rows).zip(x).for_each(|(y, x)| *y = *x);
            }
        }
    });
    y
}
