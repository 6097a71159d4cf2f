//! Root mean square normalisation of rows, forward and backward.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::layer_norm::sum;
use crate::memory::Buffer;

/// Rows in one piece of work.
const ROWS: usize = 64;

/// x̂·γ for each row of `[rows, D]`, with x̂ = x/√(mean(x²) + ε).
pub fn forward(isa: Isa, x: &[f32], gamma: &[f32], epsilon: f32) -> Buffer {
    let d = gamma.len();
    let mut y = Buffer::any(x.len());
    y.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d)).for_each(|(y, x)| {
        forward_rows(isa, x, gamma, epsilon, y);
    });
    y
}

/// (∂L/∂x, ∂L/∂γ). Pieces are summed in their order, whatever the threads.
pub fn backward(isa: Isa, x: &[f32], gamma: &[f32], dy: &[f32], epsilon: f32) -> (Buffer, Vec<f32>) {
    let d = gamma.len();
    let mut dx = Buffer::any(x.len());
    let mut sums = vec![0.0; x.len().div_ceil(ROWS * d) * d];
    dx.par_chunks_mut(ROWS * d)
        .zip(x.par_chunks(ROWS * d).zip(dy.par_chunks(ROWS * d)))
        .zip(sums.par_chunks_mut(d))
        .for_each(|((dx, (x, dy)), dgamma)| backward_rows(isa, x, gamma, dy, epsilon, dx, dgamma));
    let mut dgamma = vec![0.0; d];
    for sums in sums.chunks_exact(d) {
        dgamma.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
    }
    (dx, dgamma)
}

/// 1/√(mean(x²) + ε) of a row.
#[inline(always)]
fn reciprocal(x: &[f32], epsilon: f32) -> f32 {
    let mean_square = sum(x.len(), |i| x[i] * x[i]) / x.len() as f32;
    1.0 / (mean_square + epsilon).sqrt()
}

by_isa! {
    fn forward_rows(x: &[f32], gamma: &[f32], epsilon: f32, y: &mut [f32]) {
        let d = gamma.len();
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let r = reciprocal(x, epsilon);
            for i in 0..d {
                y[i] = x[i] * r * gamma[i];
            }
        }
    }
}

by_isa! {
    fn backward_rows(x: &[f32], gamma: &[f32], dy: &[f32], epsilon: f32, dx: &mut [f32], dgamma: &mut [f32]) {
        let d = gamma.len();
        let dgamma = &mut dgamma[..d];
        for (dx, (x, dy)) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d).zip(dy.chunks_exact(d))) {
            let r = reciprocal(x, epsilon);
            for i in 0..d {
                dgamma[i] += dy[i] * x[i] * r;
            }
            // dx = r·(g − x̂·mean(g·x̂)) with g = dy·γ and x̂ = x·r.
            let mean = sum(d, |i| dy[i] * gamma[i] * x[i]) * r / d as f32;
            for i in 0..d {
                dx[i] = r * (dy[i] * gamma[i] - x[i] * r * mean);
            }
        }
    }
}
