//! The gate of a feed-forward layer, forward and backward.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::math::{gelu_slope, normal_cdf};
use crate::memory::Buffer;

/// Rows in one piece of work.
const ROWS: usize = 64;

/// a ⊙ GELU(b) for each row `[a, b]` of `[rows, 2·D]`, GELU(b) = b·Φ(b). Shazeer 2020,
/// arXiv:2002.05202; Hendrycks & Gimpel 2016, arXiv:1606.08415.
pub fn forward(isa: Isa, x: &[f32], d: usize) -> Buffer {
    let mut y = Buffer::any(x.len() / 2);
    y.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * 2 * d)).for_each(|(y, x)| forward_rows(isa, x, d, y));
    y
}

/// ∂L/∂x.
pub fn backward(isa: Isa, x: &[f32], dy: &[f32], d: usize) -> Buffer {
    let mut dx = Buffer::any(x.len());
    dx.par_chunks_mut(ROWS * 2 * d)
        .zip(x.par_chunks(ROWS * 2 * d).zip(dy.par_chunks(ROWS * d)))
        .for_each(|(dx, (x, dy))| backward_rows(isa, x, dy, d, dx));
    dx
}

by_isa! {
    fn forward_rows(x: &[f32], d: usize, y: &mut [f32]) {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(2 * d)) {
            let (value, gate) = x.split_at(d);
            for (y, (v, g)) in y.iter_mut().zip(value.iter().zip(gate)) {
                *y = v * g * normal_cdf(*g);
            }
        }
    }
}

by_isa! {
    fn backward_rows(x: &[f32], dy: &[f32], d: usize, dx: &mut [f32]) {
        for (dx, (x, dy)) in dx.chunks_exact_mut(2 * d).zip(x.chunks_exact(2 * d).zip(dy.chunks_exact(d))) {
            let (value, gate) = x.split_at(d);
            let (dvalue, dgate) = dx.split_at_mut(d);
            let inputs = value.iter().zip(gate).zip(dy);
            for ((dv, dg), ((v, g), dy)) in dvalue.iter_mut().zip(dgate).zip(inputs) {
                *dv = dy * g * normal_cdf(*g);
                *dg = dy * v * gelu_slope(*g);
            }
        }
    }
}
