//! Kernel distances between two sets of features: KID, and CMMD when the features are CLIP's.
//!
//! Both are squared maximum mean discrepancies (Gretton et al. 2012, "A Kernel Two-Sample Test",
//! Eqs. 3 and 5) and differ in the kernel. Bińkowski et al. 2018, arXiv:1801.01401; Jayasumana et al.
//! 2024, arXiv:2401.09603.

use faer::Mat;
use rayon::prelude::*;
use serde::Serialize;

use super::features::Features;
use super::numpy_random::RandomState;
use crate::error::{Error, Result};

/// Rows of a kernel matrix that are held at once.
const ROWS: usize = 128;

/// k(x, y), d being the number of features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// (x·y/d + 1)³, of KID.
    Cubic,
    /// exp(−‖x − y‖²/(2σ²)), of CMMD (there σ = 10).
    Gaussian {
        /// σ, above 0.
        sigma: f64,
    },
}

/// MMD² in its estimators. Multiply CMMD's by 1000 to compare with its paper.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KernelDistance {
    /// Without the pairs (i, i) of a set with itself; unbiased, and so below 0 at times.
    pub unbiased: f64,
    /// With all pairs; at least 0.
    pub biased: f64,
    /// `unbiased` without the pairs (i, i) of the cross term too; for sets of equal size.
    pub u_statistic: Option<f64>,
}

/// MMD² of two sets of feature vectors.
///
/// Σ_{i≠j} k(xᵢ, xⱼ)/(m(m−1)) + Σ_{i≠j} k(yᵢ, yⱼ)/(n(n−1)) − 2 mean k(xᵢ, yⱼ)
///
/// Gretton et al. 2012, Eq. 3; the biased form, with means over all pairs, is Eq. 5.
///
/// # Errors
/// `Error::Shape` if the dimensions differ; `Error::Data` for a set with fewer than 2 vectors; `Error::Argument` for σ
/// not above 0.
pub fn kernel_distance(generated: &Features, reference: &Features, kernel: Kernel) -> Result<KernelDistance> {
    if let Kernel::Gaussian { sigma } = kernel
        && !(sigma > 0.0 && sigma.is_finite())
    {
        return Err(Error::argument("sigma", "a finite number above 0", sigma));
    }
    generated.require_comparable(reference)?;
    let all = |side: &Features| subset(side, &(0..side.n()).collect::<Vec<_>>());
    Ok(between(&all(generated)?, &all(reference)?, kernel))
}

/// Standard error of the biased MMD² of two sets, by the influence function: sample xᵢ moves it by
/// 2 (mean k(xᵢ, x) − mean k(xᵢ, y)), less the mean of that, and a sample of the other side likewise.
///
/// To first order only: for two sets of one distribution, where every influence is 0, it is too small.
///
/// # Errors
/// As [`kernel_distance`].
pub fn kernel_standard_error(generated: &Features, reference: &Features, kernel: Kernel) -> Result<f64> {
    generated.require_comparable(reference)?;
    let all = |side: &Features| subset(side, &(0..side.n()).collect::<Vec<_>>());
    let (x, y) = (all(generated)?, all(reference)?);
    let variance = |own: &Mat<f64>, other: &Mat<f64>| {
        let (within, between) = (row_means(own, own, kernel), row_means(own, other, kernel));
        let influence: Vec<f64> = within.iter().zip(between).map(|(a, b)| 2.0 * (a - b)).collect();
        let n = influence.len() as f64;
        let mean = influence.iter().sum::<f64>() / n;
        influence.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
    };
    Ok((variance(&x, &y) + variance(&y, &x)).sqrt())
}

/// KID over subsets, as papers report it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KidOfSubsets {
    /// Unbiased KID of each pair of subsets.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, divisor the number of subsets.
    pub std: f64,
    /// The same with divisor subsets − 1; none for one pair.
    pub std_ddof1: Option<f64>,
}

/// Unbiased KID of each pair of subsets, given as row numbers.
///
/// # Errors
/// As [`kernel_distance`] of each pair; `Error::Data` for a row that is not there;
/// `Error::Shape` unless both sides have equally many subsets, at least one.
pub fn kid_of_subsets(
    generated: &Features,
    reference: &Features,
    subsets_generated: &[Vec<usize>],
    subsets_reference: &[Vec<usize>],
) -> Result<KidOfSubsets> {
    generated.require_comparable(reference)?;
    let n = subsets_generated.len();
    if n == 0 || n != subsets_reference.len() {
        let expected = format!("{} subsets, at least one", subsets_reference.len());
        return Err(Error::shape("subsets of the generated side", expected, n));
    }
    let mut values = Vec::with_capacity(n);
    for (of_x, of_y) in subsets_generated.iter().zip(subsets_reference) {
        values.push(between(&subset(generated, of_x)?, &subset(reference, of_y)?, Kernel::Cubic).unbiased);
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Ok(KidOfSubsets {
        mean,
        std: (squares / n as f64).sqrt(),
        std_ddof1: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        values,
    })
}

/// KID over `n_subsets` random subsets of `subset_size` rows, drawn without replacement as torch-fidelity draws them
/// (Bińkowski et al. 2018, Section 4: 100 subsets of 1000).
///
/// # Errors
/// As [`kid_of_subsets`]; `Error::Data` for a `subset_size` above the rows of either side.
pub fn kid_of_random_subsets(
    generated: &Features,
    reference: &Features,
    subset_size: usize,
    n_subsets: usize,
    seed: u32,
) -> Result<KidOfSubsets> {
    let fewest = generated.n().min(reference.n());
    if subset_size > fewest {
        let expected = format!("at most {fewest}, the rows of the smaller side");
        return Err(Error::data("subset_size", expected, subset_size));
    }
    let mut random = RandomState::new(seed);
    let (mut of_generated, mut of_reference) = (Vec::new(), Vec::new());
    for _ in 0..n_subsets {
        of_generated.push(random.choice(generated.n(), subset_size));
        of_reference.push(random.choice(reference.n(), subset_size));
    }
    kid_of_subsets(generated, reference, &of_generated, &of_reference)
}

/// The vectors `rows` as a matrix.
fn subset(side: &Features, rows: &[usize]) -> Result<Mat<f64>> {
    if rows.len() < 2 {
        return Err(Error::data("features", "at least 2 vectors on each side", rows.len()));
    }
    if let Some(row) = rows.iter().find(|row| **row >= side.n()) {
        return Err(Error::data("row of a subset", format!("below {}", side.n()), row));
    }
    Ok(Mat::from_fn(rows.len(), side.dimension(), |i, j| side.row(rows[i])[j]))
}

fn between(x: &Mat<f64>, y: &Mat<f64>, kernel: Kernel) -> KernelDistance {
    let (m, n) = (x.nrows() as f64, y.nrows() as f64);
    let ([xx, xx_diagonal], [yy, yy_diagonal]) = (sums(x, x, kernel), sums(y, y, kernel));
    let [xy, xy_diagonal] = sums(x, y, kernel);
    let within = (xx - xx_diagonal) / (m * (m - 1.0)) + (yy - yy_diagonal) / (n * (n - 1.0));
    KernelDistance {
        unbiased: within - 2.0 * xy / (m * n),
        biased: xx / (m * m) + yy / (n * n) - 2.0 * xy / (m * n),
        u_statistic: (m == n).then(|| within - 2.0 * (xy - xy_diagonal) / (m * (m - 1.0))),
    }
}

/// Σ k(xᵢ, yⱼ) over all pairs, and over i = j. Added block by block in one order, so the number of
/// threads changes nothing.
fn sums(x: &Mat<f64>, y: &Mat<f64>, kernel: Kernel) -> [f64; 2] {
    let blocks: Vec<usize> = (0..x.nrows()).step_by(ROWS).collect();
    let sums: Vec<[f64; 2]> = blocks
        .into_par_iter()
        .map(|first| {
            let rows = ROWS.min(x.nrows() - first);
            let k = kernel_rows(x, y, first, rows, kernel);
            let all = k.iter().sum();
            let diagonal =
                (0..rows).filter(|i| first + i < y.nrows()).map(|i| k[i * y.nrows() + first + i]).sum();
            [all, diagonal]
        })
        .collect();
    sums.into_iter().fold([0.0; 2], |total, sum| [total[0] + sum[0], total[1] + sum[1]])
}

/// Mean of k(xᵢ, yⱼ) over j, for each i.
fn row_means(x: &Mat<f64>, y: &Mat<f64>, kernel: Kernel) -> Vec<f64> {
    let blocks: Vec<usize> = (0..x.nrows()).step_by(ROWS).collect();
    let means = |first: usize| -> Vec<f64> {
        let k = kernel_rows(x, y, first, ROWS.min(x.nrows() - first), kernel);
        k.chunks_exact(y.nrows()).map(|row| row.iter().sum::<f64>() / y.nrows() as f64).collect()
    };
    blocks.into_par_iter().map(means).collect::<Vec<_>>().concat()
}

/// k(xᵢ, yⱼ) for `rows` rows of x from `first`, `[rows, n]`.
fn kernel_rows(x: &Mat<f64>, y: &Mat<f64>, first: usize, rows: usize, kernel: Kernel) -> Vec<f64> {
    let (n, d) = (y.nrows(), x.ncols());
    match kernel {
        Kernel::Cubic => {
            let dot = x.subrows(first, rows) * y.transpose();
            (0..rows * n).map(|at| (dot[(at / n, at % n)] / d as f64 + 1.0).powi(3)).collect()
        }
        // By subtraction: ‖x‖² − 2x·y + ‖y‖² loses the digits of a small distance.
        Kernel::Gaussian { sigma } => {
            let mut squared = vec![0.0; rows * n];
            for column in 0..d {
                let y = y.col_as_slice(column);
                for (i, row) in squared.chunks_exact_mut(n).enumerate() {
                    let x = x[(first + i, column)];
                    row.iter_mut().zip(y).for_each(|(sum, y)| *sum += (x - y) * (x - y));
                }
            }
            squared.into_iter().map(|s| (-s / (2.0 * sigma * sigma)).exp()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn random_subsets_are_drawn_without_replacement_and_repeat() {
        let rows: Vec<f64> = (0..60).map(|i| (i as f64 * 0.7).sin()).collect();
        let side = |range: std::ops::Range<usize>| Features::new(&rows[range], 3).unwrap();
        let kid = |seed| kid_of_random_subsets(&side(0..60), &side(0..30), 10, 4, seed).unwrap();
        assert_eq!(kid(1), kid(1));
        assert_ne!(kid(1), kid(2));
        // All 10 rows of both sides: only their order is random.
        let all = kid_of_random_subsets(&side(0..30), &side(30..60), 10, 3, 5).unwrap();
        let once = kernel_distance(&side(0..30), &side(30..60), Kernel::Cubic).unwrap();
        assert!(all.std < 1e-14 && (all.mean - once.unbiased).abs() < 1e-13);
    }

    #[test]
    fn more_rows_than_a_block() {
        let rows: Vec<f64> = (0..3 * 2 * ROWS + 15).map(|i| (i as f64 * 1.3).cos()).collect();
        let n = rows.len() / 3;
        for kernel in [Kernel::Cubic, Kernel::Gaussian { sigma: 0.8 }] {
            let k = |i: usize, j: usize| {
                let (x, y) = (&rows[3 * i..][..3], &rows[3 * j..][..3]);
                match kernel {
                    Kernel::Cubic => (x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / 3.0 + 1.0).powi(3),
                    Kernel::Gaussian { sigma } => {
                        let squared: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
                        (-squared / (2.0 * sigma * sigma)).exp()
                    }
                }
            };
            let x = Mat::from_fn(n, 3, |i, j| rows[3 * i + j]);
            let [all, diagonal] = sums(&x, &x, kernel);
            let expected: f64 = (0..n * n).map(|at| k(at / n, at % n)).sum();
            assert!((all - expected).abs() < 1e-10 * expected, "{kernel:?}: {all} for {expected}");
            assert!((diagonal - (0..n).map(|i| k(i, i)).sum::<f64>()).abs() < 1e-10);
        }
    }

    #[test]
    fn the_standard_error_is_the_spread_over_repeated_draws() {
        let kernel = Kernel::Gaussian { sigma: 1.0 };
        let draw = |index: u64, shift: f64| {
            let mut rng = Philox::new(9, Purpose::Evaluation, index);
            let rows: Vec<f64> = (0..60 * 2).map(|_| rng.uniform() + shift).collect();
            Features::new(&rows, 2).unwrap()
        };
        let found: Vec<[f64; 2]> = (0..300)
            .map(|i| (draw(2 * i, 0.0), draw(2 * i + 1, 0.6)))
            .map(|(x, y)| {
                let distance = kernel_distance(&x, &y, kernel).unwrap().biased;
                [distance, kernel_standard_error(&x, &y, kernel).unwrap()]
            })
            .collect();
        let mean = |f: &dyn Fn(&[f64; 2]) -> f64| found.iter().map(f).sum::<f64>() / 300.0;
        let centre = mean(&|v| v[0]);
        let (spread, claimed) = (mean(&|v| (v[0] - centre).powi(2)).sqrt(), mean(&|v| v[1]));
        // 300 draws know a spread to 4 %.
        assert!((claimed / spread - 1.0).abs() < 0.15, "claimed {claimed}, spread {spread}");
    }
}
