//! The mean squared error, forward and backward.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;

/// Numbers in one piece of work.
const PIECE: usize = 4 * 1024;
/// Numbers that are summed side by side.
const LANES: usize = 16;

/// Mean of (a − b)², of equal length. Pieces are summed in their order, whatever the threads.
pub fn forward(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "difference of tensors of different length");
    let mut sums = vec![0.0f64; a.len().div_ceil(PIECE)];
    let pieces = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
    sums.par_iter_mut().zip(pieces).for_each(|(sum, (a, b))| sum_of_squares(isa, a, b, sum));
    (sums.iter().sum::<f64>() / a.len() as f64) as f32
}

/// ∂L/∂a = 2·(a − b)·`scale`, where `scale` is ∂L/∂mean divided by the length; ∂L/∂b is its negative, that of −`scale`.
pub fn backward(isa: Isa, a: &[f32], b: &[f32], scale: f32) -> Buffer {
    let mut da = Buffer::any(a.len());
    let pieces = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
    da.par_chunks_mut(PIECE).zip(pieces).for_each(|(da, (a, b))| scaled_difference(isa, a, b, scale, da));
    da
}

by_isa! {
    fn sum_of_squares(a: &[f32], b: &[f32], sum: &mut f64) {
        let mut sums = [0.0f32; LANES];
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
            }
        }
        let rest = rest_a.iter().zip(rest_b).map(|(a, b)| (a - b) * (a - b));
        *sum = sums.into_iter().chain(rest).map(f64::from).sum();
    }
}

by_isa! {
    fn scaled_difference(a: &[f32], b: &[f32], scale: f32, y: &mut [f32]) {
        for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
            *y = 2.0 * ((a - b) * scale);
        }
    }
}
