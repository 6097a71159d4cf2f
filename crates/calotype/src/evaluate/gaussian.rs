//! A normal distribution with the moments of a set of features.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, Par, Side};

use super::feature_statistics::{FeatureStatistics, centre, require_two};
use crate::error::{Error, Result};

/// A normal distribution N(μ, Σ), with Σ held as a factor F: Σ = F Fᵀ.
///
/// A factor needs no square root of a covariance, and may have fewer columns than rows where Σ is
/// singular.
#[derive(Debug, Clone)]
pub struct Gaussian {
    n: Option<usize>,
    mean: Vec<f64>,
    factor: Mat<f64>, // [d, rank], or [d, n]
    trace: f64,
}

impl Gaussian {
    /// From a mean `[d]` and a covariance `[d, d]`: the Cholesky factor where the covariance is far from
    /// singular, [`from_eigen`](Self::from_eigen) otherwise.
    ///
    /// # Errors
    /// `Error::Shape` unless the covariance is d × d; `Error::Data` if a value is not finite, the
    /// covariance is not symmetric, or its smallest eigenvalue is below −10⁻⁶ times its largest.
    pub fn from_moments(mean: &[f64], covariance: &[f64]) -> Result<Self> {
        require_covariance(mean, covariance)?;
        cut_in_fixed_parts();
        let symmetric = symmetric(covariance, mean.len());
        match cholesky_factor(&symmetric) {
            Some(factor) => Ok(Self { n: None, mean: mean.to_vec(), factor, trace: trace(&symmetric) }),
            None => Self::from_eigen(mean, covariance),
        }
    }

    /// The same by the eigendecomposition Σ = U Λ Uᵀ, F = U √Λ, whose columns are orthogonal.
    ///
    /// Eigenvalues below d·ε·λ_max (ε of f64) are rounding noise of zero and are dropped: their square
    /// roots, near 10⁻⁸, would add up in the distance of singular covariances.
    ///
    /// # Errors
    /// As [`from_moments`](Self::from_moments).
    pub fn from_eigen(mean: &[f64], covariance: &[f64]) -> Result<Self> {
        require_covariance(mean, covariance)?;
        let d = mean.len();
        let symmetric = symmetric(covariance, d);
        let (directions, eigenvalues) = positive_eigen(&symmetric)?;
        let factor = Mat::from_fn(d, eigenvalues.len(), |i, k| directions[(i, k)] * eigenvalues[k].sqrt());
        Ok(Self { n: None, mean: mean.to_vec(), factor, trace: trace(&symmetric) })
    }

    /// From feature vectors `[n, d]`, row by row, with covariance divisor n − 1.
    ///
    /// With n ≤ d the centred rows themselves are the factor, which is exact and needs no d × d matrix.
    ///
    /// # Errors
    /// `Error::Data` for fewer than 2 rows or a value that is not finite; `Error::Shape` unless the
    /// length is a multiple of `dimension`.
    pub fn from_rows<T: Copy + Into<f64>>(rows: &[T], dimension: usize) -> Result<Self> {
        if dimension == 0 || rows.len() > dimension * dimension {
            let mut statistics = FeatureStatistics::new(dimension);
            statistics.push_rows(rows)?;
            return statistics.gaussian();
        }
        let (mean, centred) = centre(rows, dimension)?;
        let n = centred.nrows();
        require_two(n)?;
        let scale = 1.0 / ((n - 1) as f64).sqrt();
        let factor = Mat::from_fn(dimension, n, |i, k| centred[(k, i)] * scale);
        let trace = factor.squared_norm_l2();
        Ok(Self { n: Some(n), mean, factor, trace })
    }

    /// From feature vectors `[n, d]`, with orthogonal columns U √Λ of the factor as
    /// [`from_eigen`](Self::from_eigen) has them; and the centred rows `[n, d]`.
    ///
    /// With n ≤ d they come from the rows' Gram matrix X Xᵀ = V Λ Vᵀ, `[n, n]`: U √Λ = Xᵀ V.
    ///
    /// # Errors
    /// As [`from_rows`](Self::from_rows).
    pub(super) fn principal<T: Copy + Into<f64>>(rows: &[T], dimension: usize) -> Result<(Self, Mat<f64>)> {
        cut_in_fixed_parts();
        let (mean, centred) = centre(rows, dimension)?;
        let n = centred.nrows();
        require_two(n)?;
        if n > dimension {
            let mut statistics = FeatureStatistics::new(dimension);
            statistics.push_rows(rows)?;
            return Ok((Self::from_eigen(&mean, &statistics.covariance()?)?.of_samples(n), centred));
        }
        let scale = 1.0 / ((n - 1) as f64).sqrt();
        let scaled = faer::Scale(scale) * &centred;
        let (directions, _) = positive_eigen(&(&scaled * scaled.transpose()))?;
        let factor = scaled.transpose() * directions;
        Ok((Self { n: Some(n), mean, factor, trace: scaled.squared_norm_l2() }, centred))
    }

    /// The same, made of `n` samples.
    pub(super) fn of_samples(self, n: usize) -> Self {
        Self { n: Some(n), ..self }
    }

    /// Vectors behind the moments, if known.
    pub fn n(&self) -> Option<usize> {
        self.n
    }

    /// μ, `[d]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// tr Σ.
    pub fn trace(&self) -> f64 {
        self.trace
    }

    /// Rank of Σ; from rows with n ≤ d its bound n − 1, which they reach unless they depend on each other.
    pub fn rank(&self) -> usize {
        self.n.map_or(self.factor.ncols(), |n| self.factor.ncols().min(n.saturating_sub(1)))
    }

    /// F with Σ = F Fᵀ, `[d, rank]`; `[d, n]` from n ≤ d rows.
    pub(super) fn factor(&self) -> &Mat<f64> {
        &self.factor
    }
}

/// L of Σ = L Lᵀ, unless Σ may be singular within rounding.
///
/// 1/‖L⁻¹‖²_F = 1/tr Σ⁻¹ is a lower bound of the smallest eigenvalue, and tr Σ an upper one of the
/// largest: beyond d·ε between them, rounding noise cannot pass for a direction of the covariance.
fn cholesky_factor(symmetric: &Mat<f64>) -> Option<Mat<f64>> {
    let d = symmetric.nrows();
    let factor = symmetric.llt(Side::Lower).ok()?.L().to_owned();
    let mut inverse = Mat::identity(d, d);
    solve_lower_triangular_in_place(factor.as_ref(), inverse.as_mut(), Par::Seq);
    let smallest = 1.0 / inverse.squared_norm_l2();
    (smallest > d as f64 * f64::EPSILON * trace(symmetric)).then_some(factor)
}

/// Eigenvectors `[d, rank]` and eigenvalues of a covariance or Gram matrix, without the noise of zero.
fn positive_eigen(symmetric: &Mat<f64>) -> Result<(Mat<f64>, Vec<f64>)> {
    let d = symmetric.nrows();
    let eigen = symmetric.self_adjoint_eigen(Side::Lower).map_err(|_| not_converged())?;
    let eigenvalues: Vec<f64> = eigen.S().column_vector().iter().copied().collect(); // rising
    let (smallest, largest) = (eigenvalues[0], eigenvalues[d - 1]);
    if smallest < -1e-6 * largest {
        let got = format!("smallest eigenvalue {smallest:e}, largest {largest:e}");
        return Err(Error::data("covariance of features", "no negative eigenvalue", got));
    }
    let noise = d as f64 * f64::EPSILON * largest;
    let first = eigenvalues.partition_point(|&l| l <= noise);
    Ok((eigen.U().subcols(first, d - first).to_owned(), eigenvalues[first..].to_vec()))
}

/// `[d, d]` row by row as a matrix, equal to its transpose.
fn symmetric(covariance: &[f64], d: usize) -> Mat<f64> {
    Mat::from_fn(d, d, |i, j| 0.5 * covariance[i * d + j] + 0.5 * covariance[j * d + i])
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

/// Lets faer cut its work into equally many parts whatever the number of threads, so that every sum has one
/// order and a distance the same bits on every machine's thread count.
pub(super) fn cut_in_fixed_parts() {
    faer::set_global_parallelism(Par::rayon(8));
}

pub(super) fn not_converged() -> Error {
    Error::data("covariance of features", "a decomposition that converges", "one that does not")
}

/// Refuses what is no covariance of vectors as long as `mean`; negative eigenvalues are seen later.
pub(super) fn require_covariance(mean: &[f64], covariance: &[f64]) -> Result<()> {
    let d = mean.len();
    if d == 0 || covariance.len() != d * d {
        let expected = format!("{d} x {d} numbers, at least one");
        return Err(Error::shape("covariance of features", expected, covariance.len()));
    }
    require_finite(mean.iter().chain(covariance))?;
    let largest = covariance.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let at = |i: usize, j: usize| covariance[i * d + j];
    if (0..d).any(|i| (0..i).any(|j| (at(i, j) - at(j, i)).abs() > 1e-6 * largest)) {
        Err(Error::data("covariance of features", "a symmetric matrix", "an asymmetric one"))
    } else {
        Ok(())
    }
}

fn require_finite<'a>(values: impl IntoIterator<Item = &'a f64>) -> Result<()> {
    match values.into_iter().find(|v| !v.is_finite()) {
        Some(value) => Err(Error::data("features", "finite numbers", value)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frechet::frechet_distance;
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn the_two_ways_to_a_factor_agree() {
        let rows: Vec<f32> = (0..5 * 7).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        let mut statistics = FeatureStatistics::new(7);
        statistics.push_rows(&rows).unwrap();
        let streamed = statistics.gaussian().unwrap();
        let direct = Gaussian::from_rows(&rows, 7).unwrap();
        assert_eq!((streamed.rank(), direct.rank()), (4, 4));
        let found = frechet_distance(&streamed, &direct).unwrap();
        assert!(found.frechet.abs() < 1e-12, "{found:?}");
        assert_eq!((found.n_generated, found.n_reference), (Some(5), Some(5)));
    }

    #[test]
    fn cholesky_and_eigen_factors_give_one_distance() {
        let d = 40;
        let covariance = |phase: f64, floor: f64| -> Vec<f64> {
            let wave = |i: usize, k: usize| ((i as f64 + phase) * (k as f64 + 1.0)).sin();
            let at = |i: usize, j: usize| (0..5).map(|k| wave(i, k) * wave(j, k)).sum::<f64>();
            (0..d * d).map(|c| at(c / d, c % d) + if c / d == c % d { floor } else { 0.0 }).collect()
        };
        let mean = vec![0.0; d];
        let (x, y) = (covariance(0.0, 1e-6), covariance(0.4, 1e-3));
        let cholesky = [&x, &y].map(|c| Gaussian::from_moments(&mean, c).unwrap());
        let eigen = [&x, &y].map(|c| Gaussian::from_eigen(&mean, c).unwrap());
        assert_eq!(cholesky[0].factor[(0, d - 1)], 0.0, "a triangle");
        let [found, expected] = [cholesky, eigen].map(|[x, y]| frechet_distance(&x, &y).unwrap().frechet);
        assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
        // Of rank 5: a Cholesky factor would be noise.
        assert_eq!(Gaussian::from_moments(&mean, &covariance(0.0, 0.0)).unwrap().rank(), 5);
        assert_eq!(Gaussian::from_moments(&mean, &covariance(0.0, 1e-15)).unwrap().rank(), 5);
    }

    #[test]
    fn an_asymmetric_covariance_is_refused() {
        let asymmetric = Gaussian::from_moments(&[0.0, 0.0], &[1.0, 0.5, 0.0, 1.0]);
        assert_refuses(asymmetric, "covariance of features: expected a symmetric matrix");
    }
}
