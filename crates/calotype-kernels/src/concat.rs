//! Channels of two pictures side by side: what the way up of a U-Net reads.

use rayon::prelude::*;

use crate::memory::Buffer;

/// Numbers in one piece of work.
const PIECE: usize = 16 * 1024;

/// Rows `[a, b]` of rows of `widths[0]` and `widths[1]` numbers.
pub fn forward(a: &[f32], b: &[f32], widths: [usize; 2]) -> Buffer {
    let [of_a, of_b] = widths;
    let (width, rows) = (of_a + of_b, rows_at_once(widths));
    assert_eq!(a.len() / of_a, b.len() / of_b, "pictures of different size side by side");
    let mut y = Buffer::any(a.len() + b.len());
    y.par_chunks_mut(rows * width).zip(a.par_chunks(rows * of_a).zip(b.par_chunks(rows * of_b))).for_each(
        |(y, (a, b))| {
            for (y, (a, b)) in y.chunks_exact_mut(width).zip(a.chunks_exact(of_a).zip(b.chunks_exact(of_b))) {
                y[..of_a].copy_from_slice(a);
                y[of_a..].copy_from_slice(b);
            }
        },
    );
    y
}

/// (∂L/∂a, ∂L/∂b).
pub fn backward(dy: &[f32], widths: [usize; 2]) -> (Buffer, Buffer) {
    let [of_a, of_b] = widths;
    let (width, rows) = (of_a + of_b, rows_at_once(widths));
    let count = dy.len() / width;
    let (mut da, mut db) = (Buffer::any(count * of_a), Buffer::any(count * of_b));
    let parts = da.par_chunks_mut(rows * of_a).zip(db.par_chunks_mut(rows * of_b));
    dy.par_chunks(rows * width).zip(parts).for_each(|(dy, (da, db))| {
        let parts = da.chunks_exact_mut(of_a).zip(db.chunks_exact_mut(of_b));
        for (dy, (da, db)) in dy.chunks_exact(width).zip(parts) {
            da.copy_from_slice(&dy[..of_a]);
            db.copy_from_slice(&dy[of_a..]);
        }
    });
    (da, db)
}

fn rows_at_once([a, b]: [usize; 2]) -> usize {
    (PIECE / (a + b)).max(1)
}
