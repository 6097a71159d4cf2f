//! Fréchet distance between two sets of features: FID when the features are Inception's.
//!
//! Heusel et al. 2017, arXiv:1706.08500, Eq. 6; the distance itself is Dowson and Landau 1982.

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, Par, Side};
use serde::Serialize;

use super::features::Features;
use crate::error::{Error, Result};

/// Number, mean and scatter of a stream of feature vectors, in f64.
///
/// The scatter is M = Σᵢ (xᵢ − x̄)(xᵢ − x̄)ᵀ. Parts are merged by Chan, Golub and LeVeque 1979:
/// δ = x̄_b − x̄_a, x̄ = x̄_a + δ·n_b/n, M = M_a + M_b + δδᵀ·n_a·n_b/n. Nothing is multiplied before
/// it is centred, so a large common offset of the features costs no digits.
#[derive(Debug, Clone)]
pub struct FeatureStatistics {
    n: usize,
    mean: Vec<f64>,
    /// `[d, d]`; only the lower triangle is kept up to date.
    scatter: Mat<f64>,
}

impl FeatureStatistics {
    /// Statistics of no vectors yet, of `dimension` numbers each.
    pub fn new(dimension: usize) -> Self {
        Self { n: 0, mean: vec![0.0; dimension], scatter: Mat::zeros(dimension, dimension) }
    }

    /// Statistics that another program or run has made of `n` vectors: their mean `[d]` and covariance
    /// `[d, d]` with divisor n − 1.
    ///
    /// # Errors
    /// As [`Gaussian::from_moments`]; `Error::Argument` for fewer than 2 vectors.
    pub fn from_moments(n: usize, mean: &[f64], covariance: &[f64]) -> Result<Self> {
        require_two(n)?;
        require_covariance(mean, covariance)?;
        let d = mean.len();
        let scatter = Mat::from_fn(d, d, |i, j| covariance[i * d + j] * (n - 1) as f64);
        Ok(Self { n, mean: mean.to_vec(), scatter })
    }

    /// Vectors seen so far.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Mean vector, `[d]`; zeros before the first vector.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Numbers per vector, d.
    pub fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// Adds one feature vector, `[d]`.
    ///
    /// # Errors
    /// As [`push_rows`](Self::push_rows), which is faster for many vectors.
    pub fn push<T: Copy + Into<f64>>(&mut self, features: &[T]) -> Result<()> {
        if features.len() != self.dimension() {
            return Err(Error::shape("feature vector", self.dimension(), features.len()));
        }
        self.push_rows(features)
    }

    /// Adds a batch of feature vectors, `[n, d]` row by row.
    ///
    /// # Errors
    /// `Error::Shape` unless the length is a multiple of d; `Error::Argument` if a value is not finite.
    /// Nothing is added then.
    pub fn push_rows<T: Copy + Into<f64>>(&mut self, rows: &[T]) -> Result<()> {
        cut_in_fixed_parts();
        let (mean, centred) = centre(rows, self.dimension())?;
        let n = centred.nrows();
        // One row has no scatter of its own; its product would cost d² for nothing.
        let scatter = if n > 1 {
            centred.transpose() * &centred
        } else {
            Mat::zeros(self.dimension(), self.dimension())
        };
        self.merge(&Self { n, mean, scatter })
    }

    /// Adds the vectors that `other` has seen, as if they had been pushed here.
    ///
    /// # Errors
    /// `Error::Shape` if the dimensions differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let d = self.dimension();
        if other.dimension() != d {
            return Err(Error::shape(
                "feature statistics to merge",
                format!("dimension {d}"),
                other.dimension(),
            ));
        }
        if other.n == 0 {
            return Ok(());
        }
        let (n_a, n_b) = (self.n as f64, other.n as f64);
        let n = n_a + n_b;
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let weight = n_a * n_b / n;
        for column in 0..d {
            let scale = delta[column] * weight;
            let target = &mut self.scatter.col_as_slice_mut(column)[column..];
            let source = &other.scatter.col_as_slice(column)[column..];
            for ((m_a, m_b), delta) in target.iter_mut().zip(source).zip(&delta[column..]) {
                *m_a += m_b + delta * scale;
            }
        }
        for (mean, delta) in self.mean.iter_mut().zip(&delta) {
            *mean += delta * n_b / n;
        }
        self.n += other.n;
        Ok(())
    }

    /// Covariance M / (n − 1), `[d, d]` row by row, exactly symmetric.
    ///
    /// # Errors
    /// `Error::Argument` for fewer than 2 vectors.
    pub fn covariance(&self) -> Result<Vec<f64>> {
        require_two(self.n)?;
        let d = self.dimension();
        let divisor = (self.n - 1) as f64;
        let lower = |i: usize, j: usize| self.scatter[(i.max(j), i.min(j))] / divisor;
        Ok((0..d * d).map(|at| lower(at / d, at % d)).collect())
    }

    /// The normal distribution with this mean and covariance.
    ///
    /// # Errors
    /// `Error::Argument` for fewer than 2 vectors.
    pub fn gaussian(&self) -> Result<Gaussian> {
        let gaussian = Gaussian::from_moments(&self.mean, &self.covariance()?)?;
        Ok(Gaussian { n: Some(self.n), ..gaussian })
    }
}

/// A normal distribution N(μ, Σ), with Σ held as a factor F: Σ = F Fᵀ.
///
/// A factor needs no square root of a covariance, and may have fewer columns than rows where Σ is
/// singular.
#[derive(Debug, Clone)]
pub struct Gaussian {
    n: Option<usize>,
    mean: Vec<f64>,
    factor: Mat<f64>, // [d, rank]
    trace: f64,
}

impl Gaussian {
    /// From a mean `[d]` and a covariance `[d, d]`: the Cholesky factor where the covariance is far from
    /// singular, [`from_eigen`](Self::from_eigen) otherwise.
    ///
    /// # Errors
    /// `Error::Shape` unless the covariance is d × d; `Error::Argument` if a value is not finite, the
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
        let eigen = symmetric.self_adjoint_eigen(Side::Lower).map_err(|_| not_converged())?;
        let eigenvalues: Vec<f64> = eigen.S().column_vector().iter().copied().collect(); // rising
        let (smallest, largest) = (eigenvalues[0], eigenvalues[d - 1]);
        if smallest < -1e-6 * largest {
            let got = format!("smallest eigenvalue {smallest:e}, largest {largest:e}");
            return Err(Error::argument("covariance of features", "no negative eigenvalue", got));
        }
        let noise = d as f64 * f64::EPSILON * largest;
        let first = eigenvalues.partition_point(|&l| l <= noise);
        let factor =
            Mat::from_fn(d, d - first, |i, k| eigen.U()[(i, first + k)] * eigenvalues[first + k].sqrt());
        Ok(Self { n: None, mean: mean.to_vec(), factor, trace: trace(&symmetric) })
    }

    /// From feature vectors `[n, d]`, row by row, with covariance divisor n − 1.
    ///
    /// With n ≤ d the centred rows themselves are the factor, which is exact and needs no d × d matrix.
    ///
    /// # Errors
    /// `Error::Argument` for fewer than 2 rows or a value that is not finite; `Error::Shape` unless the
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

    /// Columns of the factor: the rank of Σ, or a bound of it where n ≤ d.
    pub fn rank(&self) -> usize {
        self.factor.ncols()
    }

    /// F with Σ = F Fᵀ, `[d, rank]`.
    pub(super) fn factor(&self) -> &Mat<f64> {
        &self.factor
    }
}

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
    let (mean_1, mean_2) = (&generated.mean, &reference.mean);
    if mean_1.len() != mean_2.len() {
        return Err(Error::shape(
            "Fréchet distance: dimension of the generated side",
            mean_2.len(),
            mean_1.len(),
        ));
    }
    cut_in_fixed_parts();
    let product = generated.factor.transpose() * &reference.factor; // [rank₁, rank₂]
    let tr_sqrt = match product.nrows().min(product.ncols()) {
        0 => 0.0,
        _ => product.singular_values().map_err(|_| not_converged())?.iter().sum(),
    };
    let mean_term: f64 = mean_1.iter().zip(mean_2).map(|(a, b)| (a - b).powi(2)).sum();
    let trace_sum = generated.trace + reference.trace;
    let frechet = mean_term + trace_sum - 2.0 * tr_sqrt;
    Ok(FrechetDistance {
        frechet,
        mean_term,
        trace_sum,
        tr_sqrt,
        n_generated: generated.n,
        n_reference: reference.n,
    })
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

/// `[d, d]` row by row as a matrix, equal to its transpose.
fn symmetric(covariance: &[f64], d: usize) -> Mat<f64> {
    Mat::from_fn(d, d, |i, j| 0.5 * covariance[i * d + j] + 0.5 * covariance[j * d + i])
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

/// Lets faer cut its work into equally many parts whatever the number of threads, so that every sum has one
/// order and a distance the same bits on every machine's thread count.
fn cut_in_fixed_parts() {
    faer::set_global_parallelism(Par::rayon(8));
}

/// Mean `[d]` and centred rows `[n, d]` of `rows`, `[n, d]` row by row.
pub(super) fn centre<T: Copy + Into<f64>>(rows: &[T], d: usize) -> Result<(Vec<f64>, Mat<f64>)> {
    let features = Features::new(rows, d)?;
    let n = features.n();
    let mut mean = vec![0.0; d];
    for row in features.values().chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    mean.iter_mut().for_each(|sum| *sum /= n.max(1) as f64);
    let centred = Mat::from_fn(n, d, |i, j| features.row(i)[j] - mean[j]);
    Ok((mean, centred))
}

pub(super) fn not_converged() -> Error {
    Error::argument("covariance of features", "a decomposition that converges", "one that does not")
}

/// Refuses what is no covariance of vectors as long as `mean`; negative eigenvalues are seen later.
fn require_covariance(mean: &[f64], covariance: &[f64]) -> Result<()> {
    let d = mean.len();
    if d == 0 || covariance.len() != d * d {
        let expected = format!("{d} x {d} numbers, at least one");
        return Err(Error::shape("covariance of features", expected, covariance.len()));
    }
    require_finite(mean.iter().chain(covariance))?;
    let largest = covariance.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let at = |i: usize, j: usize| covariance[i * d + j];
    match (0..d).any(|i| (0..i).any(|j| (at(i, j) - at(j, i)).abs() > 1e-6 * largest)) {
        true => Err(Error::argument("covariance of features", "a symmetric matrix", "an asymmetric one")),
        false => Ok(()),
    }
}

fn require_two(n: usize) -> Result<()> {
    if n < 2 {
        return Err(Error::argument("number of feature vectors", "at least 2, for a covariance", n));
    }
    Ok(())
}

fn require_finite<'a>(values: impl IntoIterator<Item = &'a f64>) -> Result<()> {
    match values.into_iter().find(|v| !v.is_finite()) {
        Some(value) => Err(Error::argument("features", "finite numbers", value)),
        None => Ok(()),
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
    fn the_two_ways_to_a_factor_agree() {
        let rows: Vec<f32> = (0..5 * 7).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        let mut statistics = FeatureStatistics::new(7);
        statistics.push_rows(&rows).unwrap();
        let streamed = statistics.gaussian().unwrap();
        let direct = Gaussian::from_rows(&rows, 7).unwrap();
        assert_eq!((streamed.factor.ncols(), direct.factor.ncols()), (4, 5));
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

    #[test]
    fn a_bad_vector_is_refused_and_leaves_nothing_behind() {
        let mut statistics = FeatureStatistics::new(2);
        statistics.push(&[1.0_f32, 2.0]).unwrap();
        assert!(statistics.push(&[f32::NAN, 2.0]).is_err());
        assert!(statistics.push(&[1.0_f32, 2.0, 3.0, 4.0]).is_err());
        assert!(statistics.merge(&FeatureStatistics::new(3)).is_err());
        assert_eq!((statistics.n(), statistics.mean()), (1, [1.0, 2.0].as_slice()));
        assert!(statistics.gaussian().is_err(), "one vector has no covariance");
    }

    #[test]
    fn an_asymmetric_covariance_is_refused() {
        assert!(Gaussian::from_moments(&[0.0, 0.0], &[1.0, 0.5, 0.0, 1.0]).is_err());
    }
}
