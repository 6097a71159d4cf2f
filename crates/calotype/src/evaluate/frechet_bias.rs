//! How much too large a Fréchet distance is on average, because it is computed from samples.

use crate::error::{Error, Result};

/// First-order bias that `n` samples of one side give to d².
///
/// tr Σ/n + [Σᵢⱼ sᵢsⱼ/(sᵢ+sⱼ) + ½ Σᵢ sᵢ] / (2(n − 1)), Σ the covariance of that side and s the singular values
/// whose sum is `tr_sqrt` = tr (Σ₁Σ₂)^½. `pairs` is the double sum ([`harmonic_pairs`]).
pub(super) fn first_order_bias(trace: f64, tr_sqrt: f64, pairs: f64, n: usize) -> f64 {
    trace / n as f64 + (pairs + 0.5 * tr_sqrt) / (2.0 * (n as f64 - 1.0))
}

/// Σᵢⱼ lᵢlⱼ/(lᵢ + lⱼ), pairs of zeros counting 0.
pub(super) fn harmonic_pairs(l: &[f64]) -> f64 {
    let pair = |a: f64, b: f64| if a + b > 0.0 { a * b / (a + b) } else { 0.0 };
    l.iter().map(|&a| l.iter().map(|&b| pair(a, b)).sum::<f64>()).sum()
}

/// Expected Fréchet distance between `n` samples of a normal distribution and that distribution.
///
/// [Σᵢ lᵢ + ½ Σᵢⱼ lᵢlⱼ/(lᵢ+lⱼ) + ¼ Σᵢ lᵢ] / n to first order in 1/n, l the eigenvalues of its
/// covariance: what FID shows for a perfect generator.
///
/// # Errors
/// `Error::Argument` for n = 0 or an eigenvalue that is negative or not finite.
pub fn null_bias(eigenvalues: &[f64], n: usize) -> Result<f64> {
    if let Some(bad) = eigenvalues.iter().find(|l| !l.is_finite() || **l < 0.0) {
        return Err(Error::argument("eigenvalues", "finite numbers of at least 0", bad));
    }
    if n == 0 {
        return Err(Error::argument("n", "at least 1", n));
    }
    let trace: f64 = eigenvalues.iter().sum();
    Ok((1.25 * trace + 0.5 * harmonic_pairs(eigenvalues)) / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_bias_of_one_dimension() {
        // l (1 + 1/4 + 1/4) / n.
        assert_eq!(null_bias(&[2.0], 10).unwrap(), 0.3);
        assert!(null_bias(&[-1.0], 10).is_err());
    }

    #[test]
    fn the_bias_of_a_perfect_generator_is_the_null_bias() {
        let (l, n) = ([3.0, 1.0, 0.2], 1_000_000);
        let trace: f64 = l.iter().sum();
        let found = first_order_bias(trace, trace, harmonic_pairs(&l), n);
        assert!((found / null_bias(&l, n).unwrap() - 1.0).abs() < 1e-5, "{found}");
    }
}
