//! One logged number over the steps: what is known of it after one pass, in bounded memory.

use std::collections::VecDeque;

use super::metric::{Direction, is_scheduled, is_validation};
use crate::error::{Error, Result};
use crate::report::axis::is_drawable;

/// Lines that the last value of a training metric is the mean of.
const TAIL: usize = 10;
/// A series is kept in at most twice as many buckets.
const BUCKETS: usize = 512;
/// Unless asked for, a series of up to so many points is not smoothed.
const SMOOTH_ABOVE: u64 = 50;

/// How curves are smoothed: an exponential moving average, as TensorBoard's slider does it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothing {
    /// By 0.9, if there are more than 50 points that no schedule made.
    Auto,
    /// By this much, whatever the series; 0 is off.
    By(f64),
}

impl Smoothing {
    /// A weight of the past that a user gave.
    ///
    /// # Errors
    /// `Error::Argument` unless 0 ≤ `weight` < 1.
    pub fn by(weight: f64) -> Result<Self> {
        if (0.0..1.0).contains(&weight) {
            Ok(Self::By(weight))
        } else {
            Err(Error::argument("smooth", "a number from 0 to below 1", weight))
        }
    }

    fn weight(self) -> f64 {
        match self {
            Self::Auto => 0.9,
            Self::By(weight) => weight,
        }
    }
}

/// A step and a value.
pub(super) type Point = (f64, f64);

/// What a pass over a log leaves of one metric.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Largest step, of finite and other values.
    pub(super) last_step: f64,
    /// Values that are null or too large to draw.
    pub(super) not_finite: u64,
    finite: u64,
    tail: VecDeque<Point>,
    best: Option<Point>,
    smoothing: Smoothing,
    average: f64,
    buckets: Vec<Bucket>,
    /// Points in every bucket but the last.
    width: u64,
    in_last: u64,
}

/// Neighbouring points: the extremes, so that no spike is lost. All NaN if no value is finite.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    low: Point,
    high: Point,
    /// Where the average stands after the last of them.
    smooth: Point,
}

impl Bucket {
    fn joined(self, next: Self) -> Self {
        if self.low.1.is_nan() {
            return next;
        }
        if next.low.1.is_nan() {
            return self;
        }
        Self {
            low: if next.low.1 < self.low.1 { next.low } else { self.low },
            high: if next.high.1 > self.high.1 { next.high } else { self.high },
            smooth: next.smooth,
        }
    }
}

impl Series {
    pub(super) fn new(name: &str, smoothing: Smoothing) -> Self {
        Self {
            name: name.to_owned(),
            last_step: f64::NEG_INFINITY,
            not_finite: 0,
            finite: 0,
            tail: VecDeque::with_capacity(TAIL),
            best: None,
            smoothing,
            average: 0.0,
            buckets: Vec::new(),
            width: 1,
            in_last: 0,
        }
    }

    /// The value of one line.
    pub(super) fn push(&mut self, step: f64, value: f64) {
        self.last_step = self.last_step.max(step);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        let finite = is_drawable((step, value), false);
        let value = if finite { value } else { f64::NAN };
        self.tail.push_back((step, value));
        let smooth = if finite {
            self.take_in(step, value);
            self.debiased()
        } else {
            self.not_finite += 1;
            f64::NAN
        };
        self.put(Bucket { low: (step, value), high: (step, value), smooth: (step, smooth) });
    }

    fn take_in(&mut self, step: f64, value: f64) {
        self.finite += 1;
        let weight = self.smoothing.weight();
        self.average = weight * self.average + (1.0 - weight) * value;
        let better = |best: Point| Direction::of(&self.name).is_some_and(|d| d.prefers(value, best.1));
        if self.best.is_none_or(better) {
            self.best = Some((step, value));
        }
    }

    /// The average starts at 0, which 1 − weightⁿ takes back after n values, as in Adam.
    fn debiased(&self) -> f64 {
        self.average / (1.0 - self.smoothing.weight().powf(self.finite as f64))
    }

    fn put(&mut self, point: Bucket) {
        if let Some(last) = self.buckets.last_mut().filter(|_| self.in_last < self.width) {
            *last = last.joined(point);
            self.in_last += 1;
            return;
        }
        if self.buckets.len() == 2 * BUCKETS {
            self.buckets = self.buckets.chunks_exact(2).map(|pair| pair[0].joined(pair[1])).collect();
            self.width *= 2;
        }
        self.buckets.push(point);
        self.in_last = 1;
    }

    /// The value at the end: the last one of a validation metric, the mean of the last 10 lines of any
    /// other; with the last step that counted. None if no value there is finite.
    pub(super) fn last(&self) -> Option<Point> {
        let lines = if is_validation(&self.name) || is_scheduled(&self.name) { 1 } else { TAIL };
        let tail: Vec<Point> =
            self.tail.iter().rev().take(lines).copied().filter(|p| !p.1.is_nan()).collect();
        let &(step, _) = tail.first()?;
        Some((step, tail.iter().map(|point| point.1).sum::<f64>() / tail.len() as f64))
    }

    /// The best value, where it is known what is good.
    pub(super) fn best(&self) -> Option<Point> {
        self.best.filter(|_| Direction::of(&self.name).is_some())
    }

    /// Points to draw, thinned to about a thousand; NaN is a gap.
    pub(super) fn raw(&self) -> Vec<Point> {
        let mut points = Vec::with_capacity(2 * self.buckets.len());
        for Bucket { low, high, .. } in &self.buckets {
            let (first, second) = if high.0 < low.0 { (high, low) } else { (low, high) };
            points.push(*first);
            if second.0 > first.0 {
                points.push(*second);
            }
        }
        points
    }

    /// The moving average, likewise; none where it is off.
    pub(super) fn smooth(&self) -> Option<Vec<Point>> {
        let wanted = match self.smoothing {
            Smoothing::Auto => self.finite > SMOOTH_ABOVE && !is_scheduled(&self.name),
            Smoothing::By(weight) => weight > 0.0,
        };
        wanted.then(|| self.buckets.iter().map(|bucket| bucket.smooth).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn series(name: &str, smoothing: Smoothing, values: &[f64]) -> Series {
        let mut series = Series::new(name, smoothing);
        for (index, &value) in values.iter().enumerate() {
            series.push(index as f64, value);
        }
        series
    }

    #[test]
    fn smoothing_is_tensorboards() {
        // sₙ = 0.6·sₙ₋₁ + 0.4·xₙ from 0, divided by 1 − 0.6ⁿ; NaN is passed over.
        let smooth = series("loss", Smoothing::By(0.6), &[1.0, 2.0, f64::NAN, 4.0]).smooth().unwrap();
        for (point, expected) in smooth.iter().zip([1.0, 1.625, f64::NAN, 2.836_734_693_877_551]) {
            assert!(
                (point.1 - expected).abs() < 1e-12 || (point.1.is_nan() && expected.is_nan()),
                "{smooth:?}"
            );
        }
        assert_eq!(series("loss", Smoothing::By(0.0), &[1.0, 2.0]).smooth(), None);
        assert_eq!(series("loss", Smoothing::Auto, &[1.0; 50]).smooth(), None);
        assert!(series("loss", Smoothing::Auto, &[1.0; 51]).smooth().is_some());
        assert_eq!(series("learning_rate", Smoothing::Auto, &[1.0; 51]).smooth(), None);
        assert!(Smoothing::by(0.0).is_ok());
        for weight in [1.0, f64::NAN] {
            assert_refuses(Smoothing::by(weight), "smooth: expected a number from 0 to below 1");
        }
    }

    #[test]
    fn a_million_points_keep_their_spike_and_little_memory() {
        let mut values: Vec<f64> = (0..1_000_000).map(|i| f64::from(i % 7)).collect();
        (values[54_321], values[654_321]) = (99.0, -99.0);
        let series = series("loss", Smoothing::Auto, &values);
        let raw = series.raw();
        assert!(raw.len() <= 4 * BUCKETS && raw.len() > BUCKETS, "{}", raw.len());
        assert!(raw.contains(&(54_321.0, 99.0)) && raw.contains(&(654_321.0, -99.0)));
        assert!(raw.windows(2).all(|pair| pair[0].0 < pair[1].0), "order of steps is kept");
    }

    #[test]
    fn up_to_a_thousand_points_are_kept_as_they_are() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * 37 % 101)).collect();
        let raw = series("loss", Smoothing::Auto, &values).raw();
        assert_eq!(raw, values.iter().enumerate().map(|(i, &v)| (i as f64, v)).collect::<Vec<_>>());
    }

    #[test]
    fn last_value_is_a_mean_of_ten_lines_or_the_last_validation() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(series("loss", Smoothing::Auto, &values).last(), Some((19.0, 14.5)));
        assert_eq!(series("validation_loss", Smoothing::Auto, &values).last(), Some((19.0, 19.0)));
        let with_gap = [1.0, 3.0, f64::NAN, 1e200];
        let series = series("loss", Smoothing::Auto, &with_gap);
        assert_eq!(
            (series.last(), series.not_finite, series.best()),
            (Some((1.0, 2.0)), 2, Some((0.0, 1.0)))
        );
    }

    #[test]
    fn best_is_in_the_direction_of_the_metric() {
        let values = [2.0, 5.0, 1.0, f64::NAN, 5.0];
        assert_eq!(series("validation_psnr", Smoothing::Auto, &values).best(), Some((1.0, 5.0)));
        assert_eq!(series("validation_loss", Smoothing::Auto, &values).best(), Some((2.0, 1.0)));
        assert_eq!(series("gradient_norm", Smoothing::Auto, &values).best(), None);
    }
}
