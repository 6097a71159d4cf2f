//! Fréchet distance between two sets of features: FID when the features are Inception's.
//!
//! Heusel et al. 2017, arXiv:1706.08500, Eq. 6; the distance itself is Dowson and Landau 1982.

use serde::Serialize;

use super::frechet_bias::{first_order_bias, harmonic_pairs};
use super::gaussian::{Gaussian, cut_in_fixed_parts, not_converged};
use crate::error::{Error, Result};

/// The result of [`frechet_distance`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrechetDistance {
    /// d² = `mean_term` + `trace_sum` − 2 `tr_sqrt`: the number reported as FID (no square root).
    pub frechet: f64,
    /// |μ₁ − μ₂|².
    pub mean_term: f64,
    /// tr Σ₁ + tr Σ₂.
    pub trace_sum: f64,
    /// tr (Σ₁Σ₂)^½.
    pub tr_sqrt: f64,
    /// Samples behind the generated side, where known.
    pub n_generated: Option<usize>,
    /// Samples behind the reference side, where known.
    pub n_reference: Option<usize>,
    /// How much d² is too large on average, to first order in 1/n, for the finite generated side
    /// ([`first_order_bias`]); none where n is not known.
    pub first_order_bias_generated: Option<f64>,
    /// The same for the finite reference side. The two add.
    pub first_order_bias_reference: Option<f64>,
}

/// Squared Fréchet distance of two normal distributions.
///
/// d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½
///
/// Heusel et al. 2017, arXiv:1706.08500, Eq. 6. With Σ = F Fᵀ, tr (Σ₁Σ₂)^½ is the sum of the singular
/// values of F₁ᵀF₂: always real, and accurate for singular covariances, where the usual matrix square
/// root turns complex and adds ε to the diagonal. Nothing is added here and nothing clamped: the
/// distance of equal sets is 0 up to rounding, about 10⁻¹⁵ of `trace_sum`, with either sign.
///
/// # Errors
/// `Error::Shape` if the dimensions differ.
pub fn frechet_distance(generated: &Gaussian, reference: &Gaussian) -> Result<FrechetDistance> {
    require_one_dimension(generated, reference)?;
    cut_in_fixed_parts();
    let product = generated.factor().transpose() * reference.factor(); // [rank₁, rank₂]
    let singular = match product.nrows().min(product.ncols()) {
        0 => vec![],
        _ => product.singular_values().map_err(|_| not_converged())?,
    };
    Ok(from_singular_values(generated, reference, &singular))
}

/// Refuses distributions of vectors of different length.
pub(super) fn require_one_dimension(generated: &Gaussian, reference: &Gaussian) -> Result<()> {
    let (got, expected) = (generated.mean().len(), reference.mean().len());
    if got == expected {
        Ok(())
    } else {
        Err(Error::shape("Fréchet distance: dimension of the generated side", expected, got))
    }
}

/// The distance with the singular values of F₁ᵀF₂ known.
pub(super) fn from_singular_values(
    generated: &Gaussian,
    reference: &Gaussian,
    singular: &[f64],
) -> FrechetDistance {
    let tr_sqrt: f64 = singular.iter().sum();
    let mean_term: f64 = generated.mean().iter().zip(reference.mean()).map(|(a, b)| (a - b).powi(2)).sum();
    let trace_sum = generated.trace() + reference.trace();
    let pairs = harmonic_pairs(singular);
    let bias = |side: &Gaussian| Some(first_order_bias(side.trace(), tr_sqrt, pairs, side.n()?));
    FrechetDistance {
        frechet: mean_term + trace_sum - 2.0 * tr_sqrt,
        mean_term,
        trace_sum,
        tr_sqrt,
        n_generated: generated.n(),
        n_reference: reference.n(),
        first_order_bias_generated: bias(generated),
        first_order_bias_reference: bias(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commuting_covariances_have_a_closed_form() {
        // Both in the basis of one rotation: d² = Σ (√l₁ − √l₂)².
        let (cos, sin) = (0.3_f64.cos(), 0.3_f64.sin());
        let rotated = |l: f64, m: f64| {
            let off = (l - m) * sin * cos;
            [l * cos * cos + m * sin * sin, off, off, l * sin * sin + m * cos * cos]
        };
        let wide = Gaussian::from_moments(&[1.0, 2.0], &rotated(9.0, 4.0)).unwrap();
        let narrow = Gaussian::from_moments(&[1.0, 2.0], &rotated(1.0, 0.0)).unwrap();
        let found = frechet_distance(&wide, &narrow).unwrap();
        assert!((found.frechet - 8.0).abs() < 1e-12, "{found:?}");
        assert_eq!(frechet_distance(&narrow, &wide).unwrap().frechet, found.frechet);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let d = 300;
        let rows = |phase: f64| -> Vec<f64> {
            (0..700 * d).map(|i| (((i * i) % 10_007) as f64 * 0.37 + phase).sin()).collect()
        };
        let (x, y) = (rows(0.0), rows(1.0));
        let distance = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let gaussian = |rows: &[f64]| Gaussian::from_rows(rows, d).unwrap();
            pool.install(|| frechet_distance(&gaussian(&x), &gaussian(&y)).unwrap().frechet)
        };
        let found = [1, 2, 3, 7].map(distance);
        assert!(found.iter().all(|v| v.to_bits() == found[0].to_bits()), "{found:?}");
    }
}
