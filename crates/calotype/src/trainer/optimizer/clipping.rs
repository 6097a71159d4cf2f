//! The norm of all gradients together, and what keeps it below a bound.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::files::NamedTensor;

/// Each gradient's sum of squares, in f64: one thread's, so that its bits do not depend on how many there are.
pub(super) fn squares(gradients: &[NamedTensor]) -> Vec<f64> {
    gradients.par_iter().map(|gradient| sum_of_squares(&gradient.values)).collect()
}

/// Euclidean norm of all gradients together, of their `squares`, which are added in the order of the tensors; `name` is
/// that of each.
///
/// # Errors
/// `Error::NonFinite` naming the first gradient that is not finite, and `step`.
pub(super) fn norm<'a>(name: impl Fn(usize) -> &'a str, squares: &[f64], step: usize) -> Result<f64> {
    match squares.iter().position(|square| !square.is_finite()) {
        Some(bad) => {
            let what = format!("gradient of `{}`", name(bad));
            Err(Error::NonFinite { what, step, got: squares[bad].to_string() })
        }
        None => Ok(squares.iter().fold(0.0, |sum, square| sum + square).sqrt()),
    }
}

/// Σ g² in partial sums that do not wait for each other.
fn sum_of_squares(values: &[f32]) -> f64 {
    let square = |g: f32| f64::from(g) * f64::from(g);
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        for (sum, &g) in sums.iter_mut().zip(chunk) {
            *sum += square(g);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&g| square(g)).sum::<f64>()
}

/// What gradients of this norm are multiplied by. Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
pub(super) fn factor(norm: f64, max_gradient_norm: f64) -> f32 {
    (max_gradient_norm / norm.max(1e-12)).min(1.0) as f32
}
