//! A moving average of any length, after the training, from snapshots of two or more power function averages.
//!
//! Karras et al. 2024, arXiv:2312.02696, section 3.2 and appendix C: the profile wanted is fitted by those of
//! the snapshots, and the weights are then combined alike.

use std::collections::BTreeMap;

use super::ema::EmaConfig;
use crate::error::{Error, Result};
use crate::files::NamedTensor;

/// The weights that an average gives to the steps up to t: p(τ) = (γ + 1) τᵞ / t^(γ+1) for 0 ≤ τ ≤ t, whose
/// integral is 1. Eq. 121.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerProfile {
    /// t: steps taken when the snapshot was stored, or should have been.
    pub step: f64,
    /// γ, see [`ema::gamma`](super::ema::gamma).
    pub gamma: f64,
}

impl PowerProfile {
    /// The profile of a power function average after `step` steps.
    ///
    /// # Errors
    /// `Error::Argument` for step 0, a σ_rel out of range, or an average of another kind.
    pub fn new(step: usize, ema: EmaConfig) -> Result<Self> {
        let EmaConfig::Power { sigma_rel } = ema else {
            return Err(Error::argument("average", "a power function", format!("{ema:?}")));
        };
        let gamma = super::ema::gamma(sigma_rel)
            .ok_or_else(|| Error::argument("sigma_rel", "above 0 and at most 0.2886", sigma_rel))?;
        let profile = Self { step: step as f64, gamma };
        profile.validate().map(|()| profile)
    }

    fn validate(self) -> Result<()> {
        let holds = self.step > 0.0 && self.step.is_finite() && self.gamma >= 0.0 && self.gamma.is_finite();
        let got = || format!("{} and {}", self.step, self.gamma);
        if holds { Ok(()) } else { Err(Error::argument("step and gamma", "above 0 and at least 0", got())) }
    }

    /// ∫ p(τ) q(τ) dτ. Eq. 151.
    fn inner_product(self, other: Self) -> f64 {
        let (early, late) = if self.step < other.step { (self, other) } else { (other, self) };
        (self.gamma + 1.0) * (other.gamma + 1.0) / (self.gamma + other.gamma + 1.0)
            * (early.step / late.step).powf(late.gamma)
            / late.step
    }
}

/// What each snapshot is multiplied by, so that the sum is as near as possible to the average `wanted`: the
/// least squares fit of its profile (algorithm 3), scaled so that the sum is 1, as the authors' program
/// does. Negative coefficients are usual.
///
/// [`unexplained`] says how good the fit is.
///
/// # Errors
/// `Error::Argument` without snapshots, for a profile out of range, for one that is twice there, and for
/// a `wanted` step after the last snapshot, of which they know nothing.
pub fn coefficients(stored: &[PowerProfile], wanted: PowerProfile) -> Result<Vec<f64>> {
    stored.iter().chain([&wanted]).try_for_each(|profile| profile.validate())?;
    let last = stored.iter().map(|profile| profile.step).fold(0.0, f64::max);
    if wanted.step > last {
        return Err(Error::argument("step", format!("at most {last}, the last snapshot's"), wanted.step));
    }
    // Profiles of length 1 make the matrix as well conditioned as a diagonal scaling can.
    let lengths: Vec<f64> = stored.iter().map(|p| p.inner_product(*p).sqrt()).collect();
    let row = |p: &PowerProfile, l: &f64| -> Vec<f64> {
        let columns = stored.iter().zip(&lengths).map(|(q, m)| p.inner_product(*q) / (l * m));
        columns.chain([p.inner_product(wanted) / l]).collect()
    };
    let rows = stored.iter().zip(&lengths).map(|(p, l)| row(p, l)).collect();
    let twice = || Error::argument("snapshots", "each step and gamma once", "two that are the same");
    let solution = solve(rows).ok_or_else(twice)?;
    let unscaled: Vec<f64> = solution.iter().zip(&lengths).map(|(x, length)| x / length).collect();
    let sum: f64 = unscaled.iter().sum();
    Ok(unscaled.iter().map(|x| x / sum).collect())
}

/// √(∫ (Σ cᵢ pᵢ − p)² / ∫ p²): how far the combined profile is from the one wanted; 0 is exact. The
/// coefficients have as many entries as `stored`.
///
/// Where the weights are a constant and white noise, the reconstruction is off by this share of the noise
/// that the average leaves; where they change slowly, by much less.
pub fn unexplained(stored: &[PowerProfile], coefficients: &[f64], wanted: PowerProfile) -> f64 {
    let terms: Vec<(PowerProfile, f64)> =
        stored.iter().copied().zip(coefficients.iter().copied()).chain([(wanted, -1.0)]).collect();
    let products =
        terms.iter().flat_map(|(p, x)| terms.iter().map(move |(q, y)| x * y * p.inner_product(*q)));
    (products.sum::<f64>().max(0.0) / wanted.inner_product(wanted)).sqrt()
}

/// Solves A x = b, `rows` of [A | b], by elimination with the largest pivot of each column; `None` if A is
/// singular.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = rows.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs()))?;
        rows.swap(k, pivot);
        let (above, below) = rows.split_at_mut(k + 1);
        let pivot_row = &above[k];
        if pivot_row[k].abs() < f64::EPSILON {
            return None;
        }
        for row in below {
            let factor = row[k] / pivot_row[k];
            row[k..].iter_mut().zip(&pivot_row[k..]).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut solution = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| rows[k][j] * solution[j]).sum();
        solution[k] = (rows[k][n] - known) / rows[k][k];
    }
    (n > 0 && solution.iter().all(|x| x.is_finite())).then_some(solution)
}

/// A tensor's shape and sum.
type Sum = (Vec<usize>, Vec<f64>);

/// Σ cᵢ · snapshot i, in f64, in the order of names.
///
/// `snapshot(i)` gives the tensors of snapshot i, in any order; one is in memory at a time, besides the sum.
///
/// # Errors
/// Those of `snapshot`; `Error::Shape` unless all snapshots have the same tensors; `Error::Argument` without
/// coefficients.
pub fn reconstruct<T: IntoIterator<Item = NamedTensor>>(
    coefficients: &[f64],
    mut snapshot: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<NamedTensor>> {
    let (first, rest) =
        coefficients.split_first().ok_or_else(|| Error::argument("coefficients", "at least one", 0))?;
    let scaled = |tensor: NamedTensor| {
        let values = tensor.values.iter().map(|&x| first * f64::from(x)).collect();
        (tensor.name, (tensor.shape, values))
    };
    let mut sums: BTreeMap<String, Sum> = snapshot(0)?.into_iter().map(scaled).collect();
    for (i, coefficient) in rest.iter().enumerate() {
        add(&mut sums, *coefficient, snapshot(i + 1)?)?;
    }
    let tensor = |(name, (shape, sum)): (String, Sum)| NamedTensor {
        name,
        shape,
        values: sum.into_iter().map(|x| x as f32).collect(),
    };
    Ok(sums.into_iter().map(tensor).collect())
}

/// Adds `coefficient` times a snapshot.
fn add(
    sums: &mut BTreeMap<String, Sum>,
    coefficient: f64,
    snapshot: impl IntoIterator<Item = NamedTensor>,
) -> Result<()> {
    let mut count = 0;
    for tensor in snapshot {
        let what = || format!("snapshot's tensor `{}`", tensor.name);
        let Some((shape, sum)) = sums.get_mut(&tensor.name) else {
            return Err(Error::shape(
                what(),
                "a tensor of the first snapshot",
                format!("{:?}", tensor.shape),
            ));
        };
        if *shape != tensor.shape || sum.len() != tensor.values.len() {
            return Err(Error::shape(what(), format!("{shape:?}"), format!("{:?}", tensor.shape)));
        }
        sum.iter_mut().zip(&tensor.values).for_each(|(s, &x)| *s += coefficient * f64::from(x));
        count += 1;
    }
    if count != sums.len() {
        return Err(Error::shape("snapshot", format!("{} tensors", sums.len()), count));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
