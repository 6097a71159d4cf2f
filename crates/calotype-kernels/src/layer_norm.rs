//! Layer normalisation of rows, forward and backward.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;

/// Rows in one piece of work.
const ROWS: usize = 64;

/// x̂·γ + β for each row of `[rows, D]`, with x̂ = (x − μ)/√(σ² + ε).
pub fn forward(isa: Isa, x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Buffer {
    let d = gamma.len();
    let mut y = Buffer::any(x.len());
    y.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d)).for_each(|(y, x)| {
        forward_rows(isa, x, gamma, beta, epsilon, y);
    });
    y
}

/// (∂L/∂x, ∂L/∂γ, ∂L/∂β). Pieces are summed in their order, whatever the threads.
pub fn backward(
    isa: Isa,
    x: &[f32],
    gamma: &[f32],
    dy: &[f32],
    epsilon: f32,
) -> (Buffer, Vec<f32>, Vec<f32>) {
    let d = gamma.len();
    let pieces = x.len().div_ceil(ROWS * d);
    let mut dx = Buffer::any(x.len());
    let mut sums = vec![0.0; pieces * 2 * d];
    dx.par_chunks_mut(ROWS * d)
        .zip(x.par_chunks(ROWS * d).zip(dy.par_chunks(ROWS * d)))
        .zip(sums.par_chunks_mut(2 * d))
        .for_each(|((dx, (x, dy)), sums)| {
            let (dgamma, dbeta) = sums.split_at_mut(d);
            backward_rows(isa, x, gamma, dy, epsilon, dx, dgamma, dbeta);
        });
    let (mut dgamma, mut dbeta) = (vec![0.0; d], vec![0.0; d]);
    for sums in sums.chunks_exact(2 * d) {
        dgamma.iter_mut().zip(&sums[..d]).for_each(|(t, s)| *t += s);
        dbeta.iter_mut().zip(&sums[d..]).for_each(|(t, s)| *t += s);
    }
    (dx, dgamma, dbeta)
}

/// Σ f(i) over a row in 16 partial sums, which the compiler keeps in vectors.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut parts = [0.0f32; 16];
    let whole = n - n % 16;
    for first in (0..whole).step_by(16) {
        for (j, part) in parts.iter_mut().enumerate() {
            *part += f(first + j);
        }
    }
    parts.iter().sum::<f32>() + (whole..n).map(f).sum::<f32>()
}

/// μ and 1/√(σ² + ε) of a row.
#[inline(always)]
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x.len(), |i| x[i]) / n;
    let variance = sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

by_isa! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, y: &mut [f32]) {
        let d = gamma.len();
        let beta = &beta[..d];
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let (mean, r) = moments(x, epsilon);
            for i in 0..d {
                y[i] = (x[i] - mean) * r * gamma[i] + beta[i];
            }
        }
    }
}

by_isa! {
    fn backward_rows(
        x: &[f32],
        gamma: &[f32],
        dy: &[f32],
        epsilon: f32,
        dx: &mut [f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) {
        let d = gamma.len();
        let (dgamma, dbeta) = (&mut dgamma[..d], &mut dbeta[..d]);
        for (dx, (x, dy)) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d).zip(dy.chunks_exact(d))) {
            let (mean, r) = moments(x, epsilon);
            for i in 0..d {
                dgamma[i] += dy[i] * (x[i] - mean) * r;
                dbeta[i] += dy[i];
            }
            let n = d as f32;
            let mean_g = sum(d, |i| dy[i] * gamma[i]) / n;
            let mean_g_x = sum(d, |i| dy[i] * gamma[i] * (x[i] - mean)) * r / n;
            for i in 0..d {
                dx[i] = r * (dy[i] * gamma[i] - mean_g - (x[i] - mean) * r * mean_g_x);
            }
        }
    }
}
