//! A curve of a chart: its values, their moving average, thinned to what a screen shows.

use super::axis::is_drawable;

/// From more points than this a curve is smoothed.
const SMOOTH_ABOVE: usize = 50;
/// More points than this are thinned.
const MOST_POINTS: usize = 600;

/// One curve of a chart, as it is drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// (x, y), joined in this order. What cannot be drawn, such as NaN, is a gap.
    pub raw: Vec<(f64, f64)>,
    /// Their moving average, drawn bold above the values, which are then light.
    pub smooth: Option<Vec<(f64, f64)>>,
    /// The value at the end, for the legend.
    pub last: Option<f64>,
    /// How many values are not drawn; the legend says so.
    pub left_out: u64,
}

impl Curve {
    /// The curve of all `points` that can be drawn, on a logarithmic y axis if `log_y`. More than 50 get a moving
    /// average; more than 600 are thinned, keeping every bucket's extremes.
    pub fn smoothed(name: &str, points: &[(f64, f64)], log_y: bool) -> Self {
        let drawable: Vec<(f64, f64)> = points.iter().copied().filter(|&p| is_drawable(p, log_y)).collect();
        let left_out = (points.len() - drawable.len()) as u64;
        let smooth = (drawable.len() > SMOOTH_ABOVE).then(|| thin(&moving_average(&drawable)));
        let raw = thin(&drawable);
        let last = smooth.as_ref().unwrap_or(&raw).last().map(|&(_, y)| y);
        Self { name: name.to_owned(), raw, smooth, last, left_out }
    }

    /// What a reader should follow: the average, or the values where there is none.
    pub(super) fn main(&self) -> &[(f64, f64)] {
        self.smooth.as_ref().unwrap_or(&self.raw)
    }
}

/// Drawable points without gaps between them.
pub(crate) fn pieces(points: &[(f64, f64)], log_y: bool) -> impl Iterator<Item = &[(f64, f64)]> {
    points.split(move |&point| !is_drawable(point, log_y)).filter(|piece| !piece.is_empty())
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
        let curve = Curve::smoothed("loss", &points, false);
        assert!(curve.raw.len() <= 600);
        assert_eq!((curve.raw[0], *curve.raw.last().unwrap()), (points[0], points[99_999]));
        assert!(curve.raw.contains(&(54_321.0, 9.0)));
        assert!(curve.raw.windows(2).all(|pair| pair[0].0 < pair[1].0), "order of x is kept");
    }

    #[test]
    fn average_of_a_constant_is_the_constant_from_the_first_point() {
        let curve = Curve::smoothed("loss", &line(51, |_| 3.0), false);
        assert!(curve.smooth.unwrap().iter().all(|&(_, y)| (y - 3.0).abs() < 1e-12));
        assert!(Curve::smoothed("loss", &line(50, |_| 3.0), false).smooth.is_none());
    }

    #[test]
    fn what_cannot_be_drawn_is_counted() {
        let points = [(0.0, f64::NAN), (1.0, f64::INFINITY), (f64::NAN, 1.0), (2.0, 0.0), (3.0, 0.5)];
        let linear = Curve::smoothed("loss", &points, false);
        assert_eq!((linear.raw.len(), linear.left_out), (2, 3));
        let logarithmic = Curve::smoothed("loss", &points, true);
        assert_eq!((logarithmic.raw, logarithmic.left_out), (vec![(3.0, 0.5)], 4));
        assert_eq!(Curve::smoothed("loss", &[], true).last, None);
    }
}
