//! FID for infinitely many pictures, extrapolated.

use serde::Serialize;

use crate::error::{Error, Result};

/// The line of [`fid_infinity`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FidInfinity {
    /// FID for n → ∞.
    pub intercept: f64,
    /// FID falls towards it as slope / n.
    pub slope: f64,
    /// Sum of squared residuals of the line.
    pub residual_sum_sq: f64,
    /// Classical standard error of the intercept, for points with independent errors; NaN for two points,
    /// where no residual is left. Of nested parts of one set it is too small.
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
/// `Error::Shape` if the lengths differ; `Error::Data` unless there are two different counts of at
/// least 1 and all values are finite.
pub fn fid_infinity(n: &[usize], fid: &[f64]) -> Result<FidInfinity> {
    if n.len() != fid.len() {
        return Err(Error::shape("FID∞: values of `fid`", n.len(), fid.len()));
    }
    if n.contains(&0) || n.iter().all(|count| Some(count) == n.first()) {
        return Err(Error::data("n", "at least two different sample counts of at least 1", format!("{n:?}")));
    }
    if let Some(bad) = fid.iter().find(|v| !v.is_finite()) {
        return Err(Error::data("fid", "finite numbers", bad));
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
    use crate::testing::assert_refuses;

    #[test]
    fn a_perfect_line_is_found_exactly() {
        let line = fid_infinity(&[100, 200, 400], &[3.0, 2.5, 2.25]).unwrap();
        assert!((line.intercept - 2.0).abs() < 1e-12 && (line.slope - 100.0).abs() < 1e-9, "{line:?}");
        assert!(line.intercept_stderr < 1e-12);
        for counts in [[100, 100], [100, 0]] {
            assert_refuses(
                fid_infinity(&counts, &[3.0, 2.5]),
                "n: expected at least two different sample counts",
            );
        }
    }
}
