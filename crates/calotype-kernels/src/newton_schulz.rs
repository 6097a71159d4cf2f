//! Newton-Schulz iteration: a matrix whose singular values are all made alike.
//!
//! Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
//!
//! A step is X ← QX with Q = aI + bG + cG² and the Gram matrix G = XXᵀ. As G commutes with its polynomials, several
//! steps need X only once: G ← QGQ is the next Gram matrix, and P ← QP what X is multiplied by in the end. Where X is much
//! longer than wide this saves most of the work, where it is square nothing.
//!
//! What G loses by rounding, relative to its largest eigenvalue, grows by a² = 12 in each such step where singular values
//! are small, so it is computed anew after three of the five. Error against f64, `[128, 1152]`, singular values from 1 to
//! 10⁻⁶, relative to the result's norm: 1.2e-5 with G from X in each step, 7.5e-6 with three and two steps from one G,
//! 2e-4 with five.

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;
use crate::symmetric::{Order, Symmetric};

/// Coefficients of Jordan et al., which bring singular values of 0.001 to 1 near 1 within five steps.
pub const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Steps from one Gram matrix of X, and from the next.
const STEPS: [usize; 2] = [3, 2];
/// All of them.
pub const ITERATIONS: usize = STEPS[0] + STEPS[1];

/// About UVᵀ of the matrix `[rows, columns]` = USVᵀ, row by row: all singular values that are not tiny become 0.7 to
/// 1.2. A matrix of zeros stays. On one thread.
pub fn orthogonalized(isa: Isa, mut x: Buffer, rows: usize, columns: usize) -> Buffer {
    if x.is_empty() {
        return x;
    }
    let mut squares = 0.0;
    sum_of_squares(isa, &x, &mut squares);
    let norm = squares.sqrt();
    scale(isa, if norm > 0.0 { (1.0 / norm) as f32 } else { 0.0 }, &mut x);
    let order = if rows <= columns { Order::Rows } else { Order::Columns };
    let (side, length) = (rows.min(columns), rows.max(columns));
    let mut iteration = Iteration::new(isa, side, order, x);
    // From here on fewer products with X outweigh more of matrices `[side, side]`.
    if 4 * length > 5 * side {
        STEPS.iter().for_each(|&steps| iteration.advance(steps));
    } else {
        (0..ITERATIONS).for_each(|_| iteration.advance(1));
    }
    iteration.x
}

/// X, and memory for what is computed of it.
struct Iteration {
    isa: Isa,
    symmetric: Symmetric,
    order: Order,
    x: Buffer,
    next: Buffer,
    /// G, Q, P and one more.
    matrices: [Buffer; 4],
}

impl Iteration {
    fn new(isa: Isa, side: usize, order: Order, x: Buffer) -> Self {
        let symmetric = Symmetric::new(isa, side);
        let matrices = std::array::from_fn(|_| symmetric.any());
        Self { isa, order, next: Buffer::any(x.len()), x, matrices, symmetric }
    }

    /// So many steps from one Gram matrix.
    fn advance(&mut self, steps: usize) {
        let Self { isa, symmetric, order, x, next, matrices: [gram, q, p, other] } = self;
        symmetric.gram(x, *order, gram);
        polynomial(*isa, symmetric, gram, p);
        for step in 1..steps {
            let last = if step == 1 { &*p } else { &*q };
            symmetric.product(last, gram, other);
            symmetric.product(other, last, gram);
            polynomial(*isa, symmetric, gram, q);
            symmetric.product(q, p, other);
            std::mem::swap(p, other);
        }
        symmetric.times(p, x, *order, next);
        std::mem::swap(x, next);
    }
}

/// `out` = aI + bG + cG².
fn polynomial(isa: Isa, symmetric: &Symmetric, gram: &[f32], out: &mut [f32]) {
    let [a, b, c] = COEFFICIENTS;
    symmetric.product(gram, gram, out);
    combine(isa, b, gram, c, out);
    symmetric.add_to_diagonal(a, out);
}

by_isa! {
    /// `square` ← b·`gram` + c·`square`.
    fn combine(b: f32, gram: &[f32], c: f32, square: &mut [f32]) {
        for (square, gram) in square.iter_mut().zip(gram) {
            *square = b * gram + c * *square;
        }
    }
}

by_isa! {
    fn scale(factor: f32, x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

by_isa! {
    /// Σ x² in partial sums that do not wait for each other.
    fn sum_of_squares(x: &[f32], sum: &mut f64) {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let (chunks, rest) = x.as_chunks::<16>();
        let mut sums = [0.0; 16];
        for chunk in chunks {
            for (sum, &x) in sums.iter_mut().zip(chunk) {
                *sum += square(x);
            }
        }
        *sum = sums.iter().sum::<f64>() + rest.iter().map(|&x| square(x)).sum::<f64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible numbers from −1 to 1.
    fn numbers(n: usize, seed: u32) -> Vec<f64> {
        let number = |i: u32| (i.wrapping_mul(2654435761).wrapping_add(seed) >> 8) % 65536;
        (0..n as u32).map(|i| f64::from(number(i.wrapping_mul(747796405))) / 32768.0 - 1.0).collect()
    }

    /// UDVᵀ `[rows, columns]`, whose U and V are products of three reflections each.
    fn matrix(rows: usize, columns: usize, singular: &[f64]) -> Vec<f64> {
        let mut x = vec![0.0; rows * columns];
        singular.iter().enumerate().for_each(|(i, s)| x[i * columns + i] = *s);
        for seed in 0..3 {
            for (n, step, others, other_step) in [(rows, columns, columns, 1), (columns, 1, rows, columns)] {
                let v = numbers(n, seed * 7919 + n as u32);
                let square: f64 = v.iter().map(|v| v * v).sum();
                for other in 0..others {
                    let at = |i: usize| i * step + other * other_step;
                    let inner: f64 = v.iter().enumerate().map(|(i, v)| v * x[at(i)]).sum();
                    v.iter().enumerate().for_each(|(i, v)| x[at(i)] -= 2.0 * inner / square * v);
                }
            }
        }
        x
    }

    /// What the steps make of singular values.
    fn expected(singular: &[f64]) -> Vec<f64> {
        let [a, b, c] = COEFFICIENTS.map(f64::from);
        let norm = singular.iter().map(|s| s * s).sum::<f64>().sqrt();
        let step = |s: f64| s * (a + b * s.powi(2) + c * s.powi(4));
        singular.iter().map(|s| (0..5).fold(s / norm, |s, _| step(s))).collect()
    }

    /// Singular values from 1 to 10⁻⁶, of matrices that take either way, lie either way and fill no panel.
    #[test]
    fn singular_values_of_six_decades_become_those_of_the_polynomial() {
        for [rows, columns] in
            [[128, 128], [64, 300], [300, 64], [65, 81], [82, 65], [33, 40], [7, 9], [9, 7], [1, 20], [1, 1]]
        {
            let side = rows.min(columns);
            let singular: Vec<f64> =
                (0..side).map(|i| 10f64.powf(-6.0 * i as f64 / (side - 1).max(1) as f64)).collect();
            let x: Vec<f32> = matrix(rows, columns, &singular).iter().map(|x| *x as f32).collect();
            let singular = expected(&singular);
            let expected = matrix(rows, columns, &singular);
            let norm = singular.iter().map(|s| s * s).sum::<f64>().sqrt();
            for isa in Isa::available() {
                // Gradients are small: their squares are no f32.
                let small = x.iter().map(|x| x * 1e-30).collect::<Vec<_>>().into();
                let found = orthogonalized(isa, small, rows, columns);
                let error =
                    found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).powi(2)).sum::<f64>();
                let error = error.sqrt() / norm;
                assert!(error < 3e-5, "{isa:?} {rows} x {columns}: {error:e}");
            }
        }
    }

    #[test]
    fn zeros_stay_and_nothing_is_nothing() {
        assert_eq!(orthogonalized(Isa::best(), Buffer::zeros(6), 2, 3)[..], [0.0; 6]);
        assert!(orthogonalized(Isa::best(), Buffer::zeros(0), 0, 3).is_empty());
    }
}
