//! How much too large a Fréchet distance is on average, because it is computed from samples.

/// First-order bias that `n` samples of one side give to d².
///
/// tr Σ/n + [Σᵢⱼ sᵢsⱼ/(sᵢ+sⱼ) + ½ Σᵢ sᵢ] / (2(n − 1)), Σ the covariance of that side and s the singular values
/// whose sum is `tr_sqrt` = tr (Σ₁Σ₂)^½. `pairs` is the double sum ([`harmonic_pairs`]).
pub(super) fn first_order_bias(trace: f64, tr_sqrt: f64, pairs: f64, n: usize) -> f64 {
    trace / n as f64 + (pairs + 0.5 * tr_sqrt) / (2.0 * (n as f64 - 1.0))
}

/// Σᵢⱼ lᵢlⱼ/(lᵢ + lⱼ), pairs of zeros counting 0.
pub(crate) fn harmonic_pairs(l: &[f64]) -> f64 {
    let pair = |a: f64, b: f64| if a + b > 0.0 { a * b / (a + b) } else { 0.0 };
    l.iter().map(|&a| l.iter().map(|&b| pair(a, b)).sum::<f64>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_of_a_perfect_generator() {
        let (l, n) = ([3.0, 1.0, 0.2], 1_000_000);
        let trace: f64 = l.iter().sum();
        let found = first_order_bias(trace, trace, harmonic_pairs(&l), n);
        let expected = (1.25 * trace + 0.5 * harmonic_pairs(&l)) / n as f64;
        assert!((found / expected - 1.0).abs() < 1e-5, "{found}");
    }
}
