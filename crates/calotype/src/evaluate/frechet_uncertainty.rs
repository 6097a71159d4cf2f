//! How far to trust a Fréchet distance: its standard error.

use faer::Mat;
use serde::Serialize;

use super::frechet::{FrechetDistance, from_singular_values, require_one_dimension};
use super::gaussian::{Gaussian, not_converged};
use crate::error::Result;

/// The result of [`standard_error`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrechetStandardError {
    /// The distance itself, with its bias.
    pub distance: FrechetDistance,
    /// Standard error that the finite number of generated samples gives to d².
    pub from_generated: f64,
    /// The same from the reference samples. The two are independent: add their squares.
    pub from_reference: f64,
    /// Rank of the generated side's covariance.
    pub rank_generated: usize,
    /// Rank of the reference side's covariance.
    pub rank_reference: usize,
}

/// Standard error of the Fréchet distance of two sets of features, by the influence function.
///
/// With the optimal map T = Σ₁^(−½) (Σ₁^½ Σ₂ Σ₁^½)^½ Σ₁^(−½) of Dowson and Landau 1982, one sample
/// moves d² by
///
/// IFᵢ = 2 (μ₁ − μ₂)·cᵢ + cᵢᵀ (I − T) cᵢ − tr((I − T) Σ₁), cᵢ = xᵢ − μ₁
///
/// and se² = Σᵢ (IFᵢ − mean IF)² / (n₁ − 1) / n₁ (the delta method; Hampel 1974). With n ≤ d on a side no
/// d × d matrix of it is decomposed.
///
/// - `generated`, `reference`: feature vectors `[n, dimension]`, row by row.
///
/// # Errors
/// `Error::Data` for fewer than 2 rows on a side or a value that is not finite; `Error::Shape`
/// unless the lengths are multiples of `dimension`.
pub fn standard_error<T: Copy + Into<f64>>(
    generated: &[T],
    reference: &[T],
    dimension: usize,
) -> Result<FrechetStandardError> {
    let (gaussian_1, centred_1) = Gaussian::principal(generated, dimension)?;
    let (gaussian_2, centred_2) = Gaussian::principal(reference, dimension)?;
    require_one_dimension(&gaussian_1, &gaussian_2)?;
    let product = gaussian_1.factor().transpose() * gaussian_2.factor();
    let (left, singular, right) = if product.nrows().min(product.ncols()) == 0 {
        (Mat::zeros(product.nrows(), 0), vec![], Mat::zeros(product.ncols(), 0))
    } else {
        let svd = product.thin_svd().map_err(|_| not_converged())?;
        (svd.U().to_owned(), svd.S().column_vector().iter().copied().collect(), svd.V().to_owned())
    };
    let delta: Vec<f64> = gaussian_1.mean().iter().zip(gaussian_2.mean()).map(|(a, b)| a - b).collect();
    let opposite: Vec<f64> = delta.iter().map(|v| -v).collect();
    Ok(FrechetStandardError {
        distance: from_singular_values(&gaussian_1, &gaussian_2, &singular),
        from_generated: from_side(&gaussian_1, &centred_1, &left, &singular, &delta),
        from_reference: from_side(&gaussian_2, &centred_2, &right, &singular, &opposite),
        rank_generated: gaussian_1.rank(),
        rank_reference: gaussian_2.rank(),
    })
}

/// Standard error from one side: F = U √Λ its factor, F₁ᵀF₂ = P S Qᵀ, `basis` P (side 1) or Q (side 2).
///
/// There T = G P S Pᵀ Gᵀ with G = U Λ^(−½), so cᵀTc = Σₖ sₖ ((GP)ₖ·c)². The trace term of the
/// influence function is the same for all samples and vanishes with its mean.
fn from_side(
    gaussian: &Gaussian,
    centred: &Mat<f64>,
    basis: &Mat<f64>,
    singular: &[f64],
    delta: &[f64],
) -> f64 {
    let factor = gaussian.factor();
    let eigenvalues: Vec<f64> = factor.col_iter().map(|column| column.squared_norm_l2()).collect();
    let whitening = Mat::from_fn(factor.nrows(), factor.ncols(), |i, k| factor[(i, k)] / eigenvalues[k]);
    let coordinates = centred * (whitening * basis); // [n, rank]
    let n = centred.nrows();
    let influence: Vec<f64> = (0..n)
        .map(|i| {
            let shift: f64 = delta.iter().enumerate().map(|(j, v)| v * centred[(i, j)]).sum();
            let square: f64 = (0..delta.len()).map(|j| centred[(i, j)].powi(2)).sum();
            let mapped: f64 = singular.iter().enumerate().map(|(k, s)| s * coordinates[(i, k)].powi(2)).sum();
            2.0 * shift + square - mapped
        })
        .collect();
    let n = n as f64;
    let mean = influence.iter().sum::<f64>() / n;
    let sum_sq: f64 = influence.iter().map(|v| (v - mean).powi(2)).sum();
    (sum_sq / (n - 1.0) / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn the_standard_error_is_the_spread_over_repeated_draws() {
        let draw = |index: u64, scale: f64, n: usize| -> Vec<f64> {
            let mut rng = Philox::new(7, Purpose::Evaluation, index);
            let normal = |rng: &mut Philox| {
                let radius = (-2.0 * (-rng.uniform()).ln_1p()).sqrt();
                radius * (std::f64::consts::TAU * rng.uniform()).cos()
            };
            (0..n * 2).map(|_| scale * normal(&mut rng)).collect()
        };
        let reference = draw(0, 1.0, 1000);
        let found: Vec<FrechetStandardError> =
            (1..=300).map(|i| standard_error(&draw(i, 2.0, 200), &reference, 2).unwrap()).collect();
        let n = found.len() as f64;
        let mean = found.iter().map(|f| f.distance.frechet).sum::<f64>() / n;
        let spread = (found.iter().map(|f| (f.distance.frechet - mean).powi(2)).sum::<f64>() / n).sqrt();
        let claimed = found.iter().map(|f| f.from_generated).sum::<f64>() / n;
        // 300 draws know a spread to 4 %.
        assert!((claimed / spread - 1.0).abs() < 0.15, "claimed {claimed}, spread {spread}");
    }

    /// The Gram matrix of the rows and the covariance lead to the same numbers.
    #[test]
    fn few_rows_and_many_rows_agree() {
        // 6 numbers that matter, 6 of zero: n = 9 is few for 12 numbers, many for 6.
        let rows = |n: usize, d: usize, phase: f64| -> Vec<f64> {
            let value = |i: usize, j: usize| {
                ((i * i * 7 + i * j * 3 + j) as f64 * 0.9 + phase).sin() + phase * j as f64
            };
            (0..n * d).map(|at| if at % d < 6 { value(at / d, at % d) } else { 0.0 }).collect()
        };
        let of = |d: usize| standard_error(&rows(9, d, 0.0), &rows(8, d, 0.3), d).unwrap();
        let (many, few) = (of(6), of(12));
        for (few, many) in [
            (few.from_generated, many.from_generated),
            (few.from_reference, many.from_reference),
            (few.distance.frechet, many.distance.frechet),
        ] {
            assert!(many > 0.0 && (few / many - 1.0).abs() < 1e-9, "{few} {many}");
        }
        assert_eq!((few.rank_generated, few.rank_reference), (6, 6));
    }
}
