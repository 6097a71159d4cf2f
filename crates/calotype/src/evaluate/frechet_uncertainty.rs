//! How far to trust a Fréchet distance: its standard error, its bias, and its value for n → ∞.

use faer::Mat;
use serde::Serialize;

use super::frechet::{FeatureStatistics, Gaussian, centre, frechet_distance, not_converged};
use crate::error::{Error, Result};

/// The result of [`standard_error`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrechetStandardError {
    /// The squared Fréchet distance d² itself.
    pub frechet: f64,
    /// Standard error that the finite number of generated samples gives to d².
    pub from_generated: f64,
    /// The same from the reference samples. The two are independent: add their squares.
    pub from_reference: f64,
    /// How much d² is too large on average, to first order in 1/n, for the finite generated side.
    pub first_order_bias_generated: f64,
}

/// Standard error of the Fréchet distance of two sets of features, by the influence function.
///
/// With the optimal map T = Σ₁^(−½) (Σ₁^½ Σ₂ Σ₁^½)^½ Σ₁^(−½) of Dowson and Landau 1982, one sample
/// moves d² by
///
/// IFᵢ = 2 (μ₁ − μ₂)·cᵢ + cᵢᵀ (I − T) cᵢ − tr((I − T) Σ₁), cᵢ = xᵢ − μ₁
///
/// and se² = Σᵢ (IFᵢ − mean IF)² / (n₁ − 1) / n₁ (the delta method; Hampel 1974). The first-order bias
/// is tr Σ₁/n₁ + [Σᵢⱼ sᵢsⱼ/(sᵢ+sⱼ) + ½ Σᵢ sᵢ] / (2(n₁ − 1)), s the singular values whose sum is
/// tr (Σ₁Σ₂)^½.
///
/// - `generated`, `reference`: feature vectors `[n, dimension]`, row by row.
///
/// # Errors
/// `Error::Argument` for fewer than 2 rows on a side or a value that is not finite; `Error::Shape`
/// unless the lengths are multiples of `dimension`.
pub fn standard_error<T: Copy + Into<f64>>(
    generated: &[T],
    reference: &[T],
    dimension: usize,
) -> Result<FrechetStandardError> {
    let (gaussian_1, centred_1) = side(generated, dimension)?;
    let (gaussian_2, centred_2) = side(reference, dimension)?;
    let distance = frechet_distance(&gaussian_1, &gaussian_2)?;
    let product = gaussian_1.factor().transpose() * gaussian_2.factor();
    let (left, singular, right) = if product.nrows().min(product.ncols()) == 0 {
        (Mat::zeros(product.nrows(), 0), vec![], Mat::zeros(product.ncols(), 0))
    } else {
        let svd = product.thin_svd().map_err(|_| not_converged())?;
        (svd.U().to_owned(), svd.S().column_vector().iter().copied().collect(), svd.V().to_owned())
    };
    let delta: Vec<f64> = gaussian_1.mean().iter().zip(gaussian_2.mean()).map(|(a, b)| a - b).collect();
    let opposite: Vec<f64> = delta.iter().map(|v| -v).collect();
    let n_1 = centred_1.nrows() as f64;
    let bias = gaussian_1.trace() / n_1
        + (harmonic_pairs(&singular) + 0.5 * singular.iter().sum::<f64>()) / (2.0 * (n_1 - 1.0));
    Ok(FrechetStandardError {
        frechet: distance.frechet,
        from_generated: from_side(&gaussian_1, &centred_1, &left, &singular, &delta),
        from_reference: from_side(&gaussian_2, &centred_2, &right, &singular, &opposite),
        first_order_bias_generated: bias,
    })
}

/// Moments and centred rows `[n, d]`, the factor of the moments being U √Λ.
fn side<T: Copy + Into<f64>>(rows: &[T], dimension: usize) -> Result<(Gaussian, Mat<f64>)> {
    let mut statistics = FeatureStatistics::new(dimension);
    statistics.push_rows(rows)?;
    let gaussian = Gaussian::from_eigen(statistics.mean(), &statistics.covariance()?)?;
    Ok((gaussian, centre(rows, dimension)?.1))
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

/// Σᵢⱼ lᵢlⱼ/(lᵢ + lⱼ), pairs of zeros counting 0.
fn harmonic_pairs(l: &[f64]) -> f64 {
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

/// The line of [`fid_infinity`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FidInfinity {
    /// FID for n → ∞.
    pub intercept: f64,
    /// FID falls towards it as slope / n.
    pub slope: f64,
    /// Sum of squared residuals of the line.
    pub residual_sum_sq: f64,
    /// Classical standard error of the intercept; NaN for two points, where no residual is left.
    pub intercept_stderr: f64,
}

/// FID∞: ordinary least squares of fid = intercept + slope / n.
///
/// Chong and Forsyth 2020, arXiv:1911.07023, Section 3: FID of n samples is biased by a term
/// proportional to 1/n that depends on the generator, so values for one n do not rank generators.
///
/// - `n`, `fid`: sample counts and the FID of so many samples, equally long.
///
/// # Errors
/// `Error::Shape` if the lengths differ; `Error::Argument` unless there are two different counts of at
/// least 1 and all values are finite.
pub fn fid_infinity(n: &[usize], fid: &[f64]) -> Result<FidInfinity> {
    if n.len() != fid.len() {
        return Err(Error::shape("FID∞: values of `fid`", n.len(), fid.len()));
    }
    if n.contains(&0) || n.iter().all(|count| Some(count) == n.first()) {
        return Err(Error::argument(
            "n",
            "at least two different sample counts of at least 1",
            format!("{n:?}"),
        ));
    }
    if let Some(bad) = fid.iter().find(|v| !v.is_finite()) {
        return Err(Error::argument("fid", "finite numbers", bad));
    }
    let points = n.len() as f64;
    let u: Vec<f64> = n.iter().map(|&count| 1.0 / count as f64).collect();
    let mean_u = u.iter().sum::<f64>() / points;
    let mean_fid = fid.iter().sum::<f64>() / points;
    let variance: f64 = u.iter().map(|v| (v - mean_u).powi(2)).sum();
    let covariance: f64 = u.iter().zip(fid).map(|(v, f)| (v - mean_u) * (f - mean_fid)).sum();
    let slope = covariance / variance;
    let intercept = mean_fid - slope * mean_u;
    let residual_sum_sq: f64 = u.iter().zip(fid).map(|(v, f)| (f - intercept - slope * v).powi(2)).sum();
    let spread = 1.0 / points + mean_u * mean_u / variance; // (AᵀA)⁻¹ at (0, 0)
    let intercept_stderr =
        if n.len() > 2 { (residual_sum_sq / (points - 2.0) * spread).sqrt() } else { f64::NAN };
    Ok(FidInfinity { intercept, slope, residual_sum_sq, intercept_stderr })
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
        let mean = found.iter().map(|f| f.frechet).sum::<f64>() / n;
        let spread = (found.iter().map(|f| (f.frechet - mean).powi(2)).sum::<f64>() / n).sqrt();
        let claimed = found.iter().map(|f| f.from_generated).sum::<f64>() / n;
        // 300 draws know a spread to 4 %.
        assert!((claimed / spread - 1.0).abs() < 0.15, "claimed {claimed}, spread {spread}");
    }

    #[test]
    fn a_perfect_line_is_found_exactly() {
        let line = fid_infinity(&[100, 200, 400], &[3.0, 2.5, 2.25]).unwrap();
        assert!((line.intercept - 2.0).abs() < 1e-12 && (line.slope - 100.0).abs() < 1e-9, "{line:?}");
        assert!(line.intercept_stderr < 1e-12);
        assert!(fid_infinity(&[100, 100], &[3.0, 2.5]).is_err());
        assert!(fid_infinity(&[100, 0], &[3.0, 2.5]).is_err());
    }

    #[test]
    fn null_bias_of_one_dimension() {
        // l (1 + 1/4 + 1/4) / n.
        assert_eq!(null_bias(&[2.0], 10).unwrap(), 0.3);
        assert!(null_bias(&[-1.0], 10).is_err());
    }
}
