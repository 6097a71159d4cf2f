//! Sums over the rows of a matrix or the pixels of a picture: gradients of what was added to each of them.

use rayon::prelude::*;

use crate::elementwise::add_assign_piece;
use crate::isa::Isa;
use crate::memory::Buffer;

/// Rows whose sum is taken in f32.
const ROWS: usize = 64;
/// Columns in one piece of work.
const PIECE: usize = 16 * 1024;

/// Σ over the rows of `dy`, `[rows, columns]`: the gradient of a bias.
pub fn column_sums(dy: &[f32], columns: usize) -> Vec<f32> {
    let isa = Isa::best();
    // Sums of 64 rows in f32, the rest in f64: fast, and a million rows lose nothing.
    let mut sums = Buffer::zeros(dy.len().div_ceil(ROWS * columns) * columns);
    sums.par_chunks_mut(columns).zip(dy.par_chunks(ROWS * columns)).for_each(|(sum, rows)| {
        rows.chunks_exact(columns).for_each(|row| add_assign_piece(isa, row, sum));
    });
    let mut total = vec![0.0f64; columns];
    for sum in sums.chunks_exact(columns) {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += f64::from(*s));
    }
    total.into_iter().map(|x| x as f32).collect()
}

/// Σ over the rows of `x`, each of `width` numbers, in their order: the gradient of what
/// [`add_rows`](crate::elementwise::add_rows) added to each.
pub fn sum_of_rows(isa: Isa, x: &[f32], width: usize) -> Buffer {
    let mut sum = Buffer::zeros(width);
    sum.par_chunks_mut(PIECE).enumerate().for_each(|(i, sum)| {
        for row in x.chunks_exact(width) {
            add_assign_piece(isa, &row[i * PIECE..][..sum.len()], sum);
        }
    });
    sum
}

/// `sum` += Σ over the pixels of a `picture` `width` pixels wide, each as many numbers as `sum`: the gradient of a
/// shift. Its rows first, then their pixels: burn's order.
pub fn add_pixels(isa: Isa, picture: &[f32], width: usize, sum: &mut [f32]) {
    let mut rows = Buffer::zeros(width * sum.len());
    picture.chunks_exact(rows.len()).for_each(|row| add_assign_piece(isa, row, &mut rows));
    rows.chunks_exact(sum.len()).for_each(|pixel| add_assign_piece(isa, pixel, sum));
}
