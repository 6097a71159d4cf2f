//! Rotary positions: the adjacent pairs of numbers of every head, turned by angles of its token.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;

/// Rows in one piece of work.
const ROWS: usize = 64;

/// Which way pairs are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// By the angles.
    Forward,
    /// Back: what a gradient is turned by.
    Back,
}

/// The pairs of each row of `x`, `[B·L, width]`, turned by those of its token in `rotations`, `[L, d]`: (cos, sin) for
/// each pair of a head, the same for all heads and samples.
pub fn rotate(isa: Isa, x: &[f32], width: usize, rotations: &[f32], d: usize, turn: Turn) -> Buffer {
    let tokens = rotations.len() / d;
    let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
    let mut y = Buffer::any(x.len());
    y.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).enumerate().for_each(|(piece, (y, x))| {
        for (i, (y, x)) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
            let token = (piece * ROWS + i) % tokens;
            rotate_row(isa, x, &rotations[token * d..][..d], sign, y);
        }
    });
    y
}

by_isa! {
    fn rotate_row(x: &[f32], rotation: &[f32], sign: f32, y: &mut [f32]) {
        for (y, x) in y.chunks_exact_mut(rotation.len()).zip(x.chunks_exact(rotation.len())) {
            let pairs = x.as_chunks::<2>().0.iter().zip(rotation.as_chunks::<2>().0);
            for (y, ([x_0, x_1], [cos, sin])) in y.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
                let sin = sign * sin;
                *y = [x_0 * cos - x_1 * sin, x_1 * cos + x_0 * sin];
            }
        }
    }
}
