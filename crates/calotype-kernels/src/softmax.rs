//! The softmax of rows in two parts, and its backward pass: what attention does to its scores.

use crate::isa::by_isa;
use crate::math::exp_within;

/// 2⁻¹⁰⁰, which f32 does not notice beside the largest weight of a row: that is 1, and its last digit 2⁻²⁴. What is
/// smaller is zero. A place that is masked, or that nobody looks at, would be a subnormal number, or make some in the
/// products that it goes into (docs/decisions/subnormals.md).
const NEGLIGIBLE: f32 = 7.888_609e-31;

/// eˣ, x ≤ 0.
#[inline(always)]
fn weight(x: f32) -> f32 {
    // ln 2⁻¹⁰⁰
    if x < -69.314_72 { 0.0 } else { exp_within(x) }
}

/// Numbers that are summed side by side; rows are a multiple of them.
pub(crate) const LANES: usize = 16;

by_isa! {
    /// e^((x − largest)·scale) of each row, in place. The row is a stretch of a longer one: `largest` is that of all so
    /// far, −∞ before the first; `sums` are the sums so far, with the largest number of now; `factors` are what every
    /// sum over earlier stretches is to be multiplied with. Divided by its sum a row is the softmax; who multiplies it
    /// with something narrow divides the result.
    pub(crate) fn exponentials(
        x: &mut [f32],
        columns: usize,
        scale: f32,
        largest: &mut [f32],
        sums: &mut [f32],
        factors: &mut [f32],
    ) {
        let state = largest.iter_mut().zip(sums).zip(factors);
        for (row, ((so_far, sum_so_far), factor)) in x.chunks_exact_mut(columns).zip(state) {
            let vectors = row.as_chunks_mut::<LANES>().0;
            let mut largest = [f32::NEG_INFINITY; LANES];
            for vector in vectors.iter() {
                for (l, x) in largest.iter_mut().zip(vector) {
                    *l = if *x > *l { *x } else { *l };
                }
            }
            let largest = largest.into_iter().fold(*so_far, f32::max);
            *factor = weight((*so_far - largest) * scale);
            *so_far = largest;
            let mut sums = [0.0f32; LANES];
            for vector in vectors {
                for (sum, x) in sums.iter_mut().zip(vector) {
                    *x = weight((*x - largest) * scale);
                    *sum += *x;
                }
            }
            *sum_so_far = *sum_so_far * *factor + sums.iter().sum::<f32>();
        }
    }
}

by_isa! {
    /// Multiplies the first `columns` numbers of each row by a factor of its own; rows begin `stride` numbers apart.
    pub(crate) fn scale_rows(x: &mut [f32], stride: usize, columns: usize, factors: &[f32]) {
        for (row, factor) in x.chunks_mut(stride).zip(factors) {
            for x in &mut row[..columns] {
                *x *= factor;
            }
        }
    }
}

by_isa! {
    /// dS = P ⊙ (dP − Σ_row dP ⊙ P)·scale, in place of dP.
    pub(crate) fn softmax_backward(p: &[f32], columns: usize, scale: f32, dp: &mut [f32]) {
        for (dp, p) in dp.chunks_exact_mut(columns).zip(p.chunks_exact(columns)) {
            let mut sums = [0.0f32; 8];
            for (dp, p) in dp.as_chunks::<8>().0.iter().zip(p.as_chunks::<8>().0) {
                for j in 0..8 {
                    sums[j] += dp[j] * p[j];
                }
            }
            let sum = sums.iter().sum::<f32>();
            for (d, p) in dp.iter_mut().zip(p) {
                let ds = p * (*d - sum) * scale;
                *d = if ds.abs() < NEGLIGIBLE { 0.0 } else { ds };
            }
        }
    }
}
