//! Mean and covariance of a stream of feature vectors: all that a Fréchet distance needs of a set.

use faer::Mat;

use super::features::Features;
use super::gaussian::{Gaussian, cut_in_fixed_parts, require_covariance};
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
    /// As [`Gaussian::from_moments`]; `Error::Data` for fewer than 2 vectors.
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
    /// `Error::Shape` unless the length is a multiple of d; `Error::Data` if a value is not finite.
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
    /// `Error::Data` for fewer than 2 vectors.
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
    /// `Error::Data` for fewer than 2 vectors.
    pub fn gaussian(&self) -> Result<Gaussian> {
        Ok(Gaussian::from_moments(&self.mean, &self.covariance()?)?.of_samples(self.n))
    }
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

pub(super) fn require_two(n: usize) -> Result<()> {
    if n < 2 {
        return Err(Error::data("number of feature vectors", "at least 2, for a covariance", n));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn a_bad_vector_is_refused_and_leaves_nothing_behind() {
        let mut statistics = FeatureStatistics::new(2);
        statistics.push(&[1.0_f32, 2.0]).unwrap();
        assert_refuses(statistics.push(&[f32::NAN, 2.0]), "features: expected finite numbers");
        assert_refuses(statistics.push(&[1.0_f32, 2.0, 3.0, 4.0]), "feature vector: expected 2, got 4");
        let other = FeatureStatistics::new(3);
        assert_refuses(statistics.merge(&other), "feature statistics to merge: expected dimension 2, got 3");
        assert_eq!((statistics.n(), statistics.mean()), (1, [1.0, 2.0].as_slice()));
        assert_refuses(
            statistics.gaussian(),
            "number of feature vectors: expected at least 2, for a covariance",
        );
    }
}
