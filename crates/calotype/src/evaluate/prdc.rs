//! Precision, recall, density and coverage: fidelity and variety told apart.
//!
//! Kynkäänniemi et al. 2019, arXiv:1904.06991 (precision, recall); Naeem et al. 2020, arXiv:2002.09797
//! (density, coverage). Each point of a set has a ball that reaches to its k-th nearest neighbour in its
//! own set; the four numbers ask which points lie inside the other set's balls.

use rayon::prelude::*;
use serde::Serialize;

use super::features::Features;
use crate::error::{Error, Result};

/// When a point at the distance of the radius is inside a ball. The two differ where distances tie, as
/// they do with duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BallRule {
    /// Distance < radius (Naeem's code).
    Lt,
    /// Distance ≤ radius (Kynkäänniemi's code, and the papers).
    Le,
}

impl BallRule {
    fn inside(self, distance: f64, radius: f64) -> bool {
        match self {
            Self::Lt => distance < radius,
            Self::Le => distance <= radius,
        }
    }
}

/// The four numbers. All but density lie in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prdc {
    /// Share of generated points inside the ball of at least one reference point: fidelity.
    pub precision: f64,
    /// Share of reference points inside the ball of at least one generated point: variety.
    pub recall: f64,
    /// Reference balls that a generated point is inside, on average, over k: fidelity that outliers of
    /// the reference cannot inflate.
    pub density: f64,
    /// Standard deviation of what density is the mean of: balls that a generated point is inside, over k.
    pub density_std: f64,
    /// Share of reference points whose nearest generated point is inside their ball: variety that
    /// outliers of the generated side cannot inflate.
    pub coverage: f64,
}

/// Precision, recall, density and coverage of two sets of feature vectors.
///
/// Distances are Euclidean, computed by subtraction: ‖u‖² − 2u·v + ‖v‖² would break ties.
///
/// - `k`: neighbours; 3 in Kynkäänniemi et al., 5 in Naeem et al.
///
/// # Errors
/// `Error::Shape` if the dimensions differ; `Error::Data` unless 1 ≤ k < the points of either set.
pub fn prdc(generated: &Features, reference: &Features, k: usize, rule: BallRule) -> Result<Prdc> {
    generated.require_comparable(reference)?;
    let fewest = generated.n().min(reference.n());
    if k == 0 || k >= fewest {
        let expected = format!("1 to below {fewest}, the points of the smaller set");
        return Err(Error::data("k", expected, k));
    }
    let (radii_generated, radii_reference) = (radii(generated, k), radii(reference, k));
    // For each generated point: how many balls of the reference it is inside.
    let balls = for_each(generated, |_, x| {
        let distances = distances(reference, x).zip(&radii_reference);
        distances.filter(|(distance, radius)| rule.inside(*distance, **radius)).count()
    });
    // For each reference point: whether it is inside a ball, and whether a point is inside its own.
    let reached = for_each(reference, |i, y| {
        let (mut recalled, mut covered) = (false, false);
        for (distance, radius) in distances(generated, y).zip(&radii_generated) {
            recalled |= rule.inside(distance, *radius);
            covered |= rule.inside(distance, radii_reference[i]);
        }
        (recalled, covered)
    });
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let density = share(balls.iter().sum(), k * generated.n());
    let spread: f64 = balls.iter().map(|&n| (share(n, k) - density).powi(2)).sum();
    Ok(Prdc {
        precision: share(balls.iter().filter(|&&n| n > 0).count(), generated.n()),
        recall: share(reached.iter().filter(|(recalled, _)| *recalled).count(), reference.n()),
        density,
        density_std: (spread / (generated.n() as f64 - 1.0)).sqrt(),
        coverage: share(reached.iter().filter(|(_, covered)| *covered).count(), reference.n()),
    })
}

/// `f` of the number and the vector of every point, in order; threads share the points.
fn for_each<R: Send>(side: &Features, f: impl Fn(usize, &[f64]) -> R + Sync) -> Vec<R> {
    (0..side.n()).into_par_iter().map(|i| f(i, side.row(i))).collect()
}

/// Distance of `x` to every point.
fn distances<'a>(side: &'a Features, x: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    let squared = |y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
    side.values().chunks_exact(side.dimension()).map(move |y| squared(y).sqrt())
}

/// Distance of every point to its k-th nearest other point.
fn radii(side: &Features, k: usize) -> Vec<f64> {
    for_each(side, |_, x| {
        let mut distances: Vec<f64> = distances(side, x).collect();
        // The point itself, at distance 0, is the nearest; a duplicate counts as another point.
        *distances.select_nth_unstable_by(k, f64::total_cmp).1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generated side of one good picture again and again: all of it is right, little of the
    /// reference is covered.
    #[test]
    fn a_collapsed_side_has_precision_and_no_recall() {
        let line = |from: f64, step: f64| {
            let points: Vec<f64> = (0..40).flat_map(|i| [from + step * f64::from(i), 0.0]).collect();
            Features::new(&points, 2).unwrap()
        };
        let (reference, collapsed) = (line(0.0, 1.0), line(20.0, 1e-3));
        let found = prdc(&collapsed, &reference, 3, BallRule::Le).unwrap();
        assert!(found.precision == 1.0 && found.recall < 0.1 && found.coverage < 0.2, "{found:?}");
        let swapped = prdc(&reference, &collapsed, 3, BallRule::Le).unwrap();
        assert!(swapped.precision < 0.1 && swapped.recall == 1.0, "{swapped:?}");
    }
}
