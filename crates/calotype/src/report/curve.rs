//! What of a series is drawn: the finite points, their moving average, thinned to what a screen shows.

use super::axis::DRAWABLE;

/// From more points than this a series is smoothed.
const SMOOTH_ABOVE: usize = 50;
/// More points than this are thinned.
const MOST_POINTS: usize = 600;

/// The lines of one series.
#[derive(Debug)]
pub(super) struct Curve {
    /// The points that can be drawn, thinned.
    pub(super) raw: Vec<(f64, f64)>,
    /// Their moving average, if there are many.
    pub(super) smooth: Option<Vec<(f64, f64)>>,
    /// How many points cannot be drawn.
    pub(super) left_out: usize,
}

impl Curve {
    pub(super) fn new(points: &[(f64, f64)], log_y: bool) -> Self {
        let drawable: Vec<(f64, f64)> = points.iter().copied().filter(|&p| is_drawable(p, log_y)).collect();
        let left_out = points.len() - drawable.len();
        let smooth = (drawable.len() > SMOOTH_ABOVE).then(|| thin(&moving_average(&drawable)));
        Self { raw: thin(&drawable), smooth, left_out }
    }

    /// The value where the series ends: of the average, if there is one.
    pub(super) fn last(&self) -> Option<f64> {
        self.smooth.as_ref().unwrap_or(&self.raw).last().map(|&(_, y)| y)
    }
}

fn is_drawable((x, y): (f64, f64), log_y: bool) -> bool {
    // NaN fails every comparison.
    x.abs() < DRAWABLE.end && y.abs() < DRAWABLE.end && (!log_y || y > DRAWABLE.start)
}

/// Exponential moving average over about 1/25 of the series (at least 10 points), corrected for its
/// start as Adam's moments are (Kingma and Ba 2015, arXiv:1412.6980, section 3).
fn moving_average(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let span = (points.len() as f64 / 25.0).max(10.0);
    let decay = 1.0 - 2.0 / (span + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|&(x, y)| {
            sum = decay * sum + (1.0 - decay) * y;
            weight = decay * weight + (1.0 - decay);
            (x, sum / weight)
        })
        .collect()
}

/// At most [`MOST_POINTS`]: the ends, and each bucket's lowest and highest point, so that no spike is lost.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let [first, inner @ .., last] = points else {
        return points.to_vec();
    };
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let buckets = MOST_POINTS / 2 - 1;
    let mut kept = vec![*first];
    for bucket in 0..buckets {
        let range = bucket * inner.len() / buckets..(bucket + 1) * inner.len() / buckets;
        let by_value = |&a: &usize, &b: &usize| inner[a].1.total_cmp(&inner[b].1);
        if let (Some(low), Some(high)) = (range.clone().min_by(by_value), range.max_by(by_value)) {
            kept.push(inner[low.min(high)]);
            if low != high {
                kept.push(inner[low.max(high)]);
            }
        }
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize, y: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        (0..n).map(|i| (i as f64, y(i))).collect()
    }

    #[test]
    fn thinning_keeps_ends_and_spikes() {
        let points = line(100_000, |i| if i == 54_321 { 9.0 } else { (i % 7) as f64 });
        let curve = Curve::new(&points, false);
        assert!(curve.raw.len() <= 600);
        assert_eq!((curve.raw[0], *curve.raw.last().unwrap()), (points[0], points[99_999]));
        assert!(curve.raw.contains(&(54_321.0, 9.0)));
        assert!(curve.raw.windows(2).all(|pair| pair[0].0 < pair[1].0), "order of x is kept");
    }

    #[test]
    fn average_of_a_constant_is_the_constant_from_the_first_point() {
        let curve = Curve::new(&line(51, |_| 3.0), false);
        assert!(curve.smooth.unwrap().iter().all(|&(_, y)| (y - 3.0).abs() < 1e-12));
        assert!(Curve::new(&line(50, |_| 3.0), false).smooth.is_none());
    }

    #[test]
    fn what_cannot_be_drawn_is_counted() {
        let points = [(0.0, f64::NAN), (1.0, f64::INFINITY), (f64::NAN, 1.0), (2.0, 0.0), (3.0, 0.5)];
        let linear = Curve::new(&points, false);
        assert_eq!((linear.raw.len(), linear.left_out), (2, 3));
        let logarithmic = Curve::new(&points, true);
        assert_eq!((logarithmic.raw, logarithmic.left_out), (vec![(3.0, 0.5)], 4));
        assert_eq!(Curve::new(&[], true).last(), None);
    }
}
