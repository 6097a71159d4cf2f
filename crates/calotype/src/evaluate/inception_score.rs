//! Inception Score: are single pictures clear, and are they varied?
//!
//! Salimans et al. 2016, arXiv:1606.03498, Section 4; on its pitfalls, Barratt and Sharma 2018,
//! arXiv:1801.01973.

use std::ops::Range;

use serde::Serialize;

use crate::error::{Error, Result};

/// How n rows are cut into chunks of consecutive rows, `splits` being k.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitRule {
    /// k chunks, chunk i from ⌊i n/k⌋ to before ⌊(i+1) n/k⌋ (the original implementation).
    Balanced,
    /// k chunks of ⌊n/k⌋ rows; the remaining rows are not used.
    Drop,
    /// Chunks of ⌈n/k⌉ rows, the last one shorter; may give fewer than k.
    Ceil,
    /// Chunks of k rows, the last one shorter.
    Size,
}

impl SplitRule {
    /// The chunks of `n` rows.
    ///
    /// # Errors
    /// `Error::Data` unless 1 ≤ `splits` ≤ n.
    pub fn chunks(self, n: usize, splits: usize) -> Result<Vec<Range<usize>>> {
        if n == 0 || splits == 0 || splits > n {
            return Err(Error::data("splits", format!("1 to the number of images, {n}"), splits));
        }
        let pieces = |size: usize, end: usize| {
            (0..end).step_by(size).map(|start| start..(start + size).min(end)).collect()
        };
        Ok(match self {
            Self::Balanced => (0..splits).map(|i| i * n / splits..(i + 1) * n / splits).collect(),
            Self::Drop => pieces(n / splits, n / splits * splits),
            Self::Ceil => pieces(n.div_ceil(splits), n),
            Self::Size => pieces(splits, n),
        })
    }
}

/// The result: mean and spread of the chunks' scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InceptionScore {
    /// Mean over the chunks; from 1 to the number of classes, higher is better.
    pub mean: f64,
    /// Standard deviation over the chunks, divisor the number of chunks (0 for one chunk).
    pub std: f64,
    /// The same with divisor chunks − 1; none for one chunk.
    pub std_ddof1: Option<f64>,
    /// Standard error of the mean over the chunks: `std_ddof1`/√chunks; of one chunk by the delta method.
    pub standard_error: f64,
    /// Chunks.
    pub n_chunks: usize,
    /// Images given.
    pub n: usize,
}

/// Inception Score from class probabilities p(y|x).
///
/// exp( mean_x KL(p(y|x) ‖ p(y)) ) for each chunk, p(y) the mean of p(y|x) over the chunk. Salimans et
/// al. 2016, arXiv:1606.03498, Section 4. Terms with p(y|x) = 0 count 0.
///
/// - `probabilities`: `[n, classes]`, row by row, each row summing to 1.
///
/// # Errors
/// `Error::Data` unless 1 ≤ `splits` ≤ n, for a value that is negative or not finite, and for a row
/// whose sum is off 1 by more than 10⁻⁶; `Error::Shape` unless the length is a multiple of `classes`.
pub fn from_probabilities<T: Copy + Into<f64>>(
    probabilities: &[T],
    classes: usize,
    splits: usize,
    rule: SplitRule,
) -> Result<InceptionScore> {
    let p = finite_rows(probabilities, classes, "class probabilities")?;
    for row in p.chunks_exact(classes) {
        let sum: f64 = row.iter().sum();
        if row.iter().any(|&v| v < 0.0) || (sum - 1.0).abs() > 1e-6 {
            let expected = "rows of numbers of at least 0 that sum to 1";
            return Err(Error::data("class probabilities", expected, format!("a row of sum {sum}")));
        }
    }
    let ln_p: Vec<f64> = p.iter().map(|v| v.ln()).collect();
    score(&p, &ln_p, classes, splits, rule)
}

/// Inception Score from logits: as [`from_probabilities`] with p = softmax of each row.
///
/// ln p comes from the log-sum-exp, not from a rounded p, so that far tails stay right.
///
/// - `logits`: `[n, classes]`, row by row.
///
/// # Errors
/// `Error::Data` unless 1 ≤ `splits` ≤ n and all values are finite; `Error::Shape` unless the
/// length is a multiple of `classes`.
pub fn from_logits<T: Copy + Into<f64>>(
    logits: &[T],
    classes: usize,
    splits: usize,
    rule: SplitRule,
) -> Result<InceptionScore> {
    let mut ln_p = finite_rows(logits, classes, "class logits")?;
    for row in ln_p.chunks_exact_mut(classes) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = most + row.iter().map(|v| (v - most).exp()).sum::<f64>().ln();
        row.iter_mut().for_each(|v| *v -= log_sum_exp);
    }
    let p: Vec<f64> = ln_p.iter().map(|v| v.exp()).collect();
    score(&p, &ln_p, classes, splits, rule)
}

fn finite_rows<T: Copy + Into<f64>>(rows: &[T], classes: usize, what: &str) -> Result<Vec<f64>> {
    if classes == 0 || !rows.len().is_multiple_of(classes) {
        let expected = format!("rows of {classes} classes, at least one each");
        return Err(Error::shape(what, expected, format!("{} numbers", rows.len())));
    }
    let values: Vec<f64> = rows.iter().map(|&v| v.into()).collect();
    match values.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(Error::data(what, "finite numbers", value)),
        None => Ok(values),
    }
}

fn score(p: &[f64], ln_p: &[f64], classes: usize, splits: usize, rule: SplitRule) -> Result<InceptionScore> {
    let n = p.len() / classes;
    let chunks: Vec<(f64, f64)> = rule
        .chunks(n, splits)?
        .into_iter()
        .map(|rows| rows.start * classes..rows.end * classes)
        .map(|part| chunk_score(&p[part.clone()], &ln_p[part], classes))
        .collect();
    let count = chunks.len() as f64;
    let mean = chunks.iter().map(|(score, _)| score).sum::<f64>() / count;
    let sum_sq: f64 = chunks.iter().map(|(score, _)| (score - mean).powi(2)).sum();
    let std_ddof1 = (chunks.len() > 1).then(|| (sum_sq / (count - 1.0)).sqrt());
    let standard_error = std_ddof1.map_or(chunks[0].1, |std| std / count.sqrt());
    let std = (sum_sq / count).sqrt();
    Ok(InceptionScore { mean, std, std_ddof1, standard_error, n_chunks: chunks.len(), n })
}

/// exp( mean_i KL_i ), KL_i = Σ_c p_ic (ln p_ic − ln q_c), q the mean row; and its standard error.
///
/// To first order q's own error cancels (Σ_c of its change is 0), so that a row moves ln of the score by
/// (KL_i − mean KL)/n: the error is score · std(KL_i)/√n.
fn chunk_score(p: &[f64], ln_p: &[f64], classes: usize) -> (f64, f64) {
    let n = (p.len() / classes) as f64;
    let mut q = vec![0.0; classes];
    for row in p.chunks_exact(classes) {
        q.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    let ln_q: Vec<f64> = q.iter().map(|sum| (sum / n).ln()).collect();
    let divergence = |(p, ln_p): (&[f64], &[f64])| -> f64 {
        let term = |c: usize| if p[c] > 0.0 { p[c] * (ln_p[c] - ln_q[c]) } else { 0.0 };
        (0..classes).map(term).sum()
    };
    let kl: Vec<f64> = p.chunks_exact(classes).zip(ln_p.chunks_exact(classes)).map(divergence).collect();
    let mean = kl.iter().sum::<f64>() / n;
    let variance = kl.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean.exp(), mean.exp() * (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn no_opinion_scores_one_and_k_clear_classes_score_k() {
        let uniform = from_probabilities(&[0.25_f32; 40], 4, 1, SplitRule::Balanced).unwrap();
        assert_eq!((uniform.mean, uniform.std, uniform.std_ddof1, uniform.n), (1.0, 0.0, None, 10));
        let one_hot: Vec<f64> = (0..5 * 15).map(|at| f64::from(at % 5 == (at / 5) % 5)).collect();
        let clear = from_probabilities(&one_hot, 5, 3, SplitRule::Balanced).unwrap();
        assert!((clear.mean - 5.0).abs() < 1e-12 && clear.std < 1e-12, "{clear:?}");
    }

    #[test]
    fn chunks_by_each_rule() {
        let sizes = |rule: SplitRule, n, k| -> Vec<usize> {
            rule.chunks(n, k).unwrap().into_iter().map(|chunk| chunk.len()).collect()
        };
        assert_eq!(sizes(SplitRule::Balanced, 23, 3), [7, 8, 8]);
        assert_eq!(sizes(SplitRule::Drop, 23, 3), [7, 7, 7]);
        assert_eq!(sizes(SplitRule::Ceil, 23, 3), [8, 8, 7]);
        assert_eq!(sizes(SplitRule::Ceil, 23, 10), [3, 3, 3, 3, 3, 3, 3, 2]);
        assert_eq!(sizes(SplitRule::Size, 23, 10), [10, 10, 3]);
        assert_refuses(SplitRule::Size.chunks(3, 4), "splits: expected 1 to the number of images, 3, got 4");
    }

    #[test]
    fn the_error_of_one_chunk_is_the_spread_over_repeated_draws() {
        use crate::rng::{Philox, Purpose};
        let draw = |index: u64| {
            let mut rng = Philox::new(3, Purpose::Evaluation, index);
            let logits: Vec<f64> = (0..300 * 4).map(|_| 6.0 * rng.uniform()).collect();
            from_logits(&logits, 4, 1, SplitRule::Balanced).unwrap()
        };
        let found: Vec<InceptionScore> = (0..300).map(draw).collect();
        let mean = |f: &dyn Fn(&InceptionScore) -> f64| found.iter().map(f).sum::<f64>() / 300.0;
        let centre = mean(&|score| score.mean);
        let spread = mean(&|score| (score.mean - centre).powi(2)).sqrt();
        let claimed = mean(&|score| score.standard_error);
        // 300 draws know a spread to 4 %.
        assert!((claimed / spread - 1.0).abs() < 0.15, "claimed {claimed}, spread {spread}");
    }
}
