//! An axis: where a value lies, and which round values are marked.

use super::number::{decimal_exponent, scientific, sign};

/// Magnitudes that can be drawn; beyond them steps and ratios would overflow.
pub(crate) const DRAWABLE: std::ops::Range<f64> = 1e-100..1e100;

/// Whether a point has a place in a chart: on a logarithmic y axis only if it is positive.
pub(crate) fn is_drawable((x, y): (f64, f64), log_y: bool) -> bool {
    // NaN fails every comparison.
    x.abs() < DRAWABLE.end && y.abs() < DRAWABLE.end && (!log_y || y > DRAWABLE.start)
}

/// The axes, x and y, around the drawable ones of `points`, with about as many `marks` on each; none if there is
/// nothing to draw.
pub(crate) fn around(
    points: impl Iterator<Item = (f64, f64)>,
    log_y: bool,
    marks: (usize, usize),
) -> Option<(Axis, Axis)> {
    let points: Vec<(f64, f64)> = points.filter(|&point| is_drawable(point, log_y)).collect();
    let (x_min, x_max) = extent(points.iter().map(|point| point.0))?;
    let (y_min, y_max) = extent(points.iter().map(|point| point.1))?;
    let whole = points.iter().all(|point| point.0.fract() == 0.0);
    let y =
        if log_y { Axis::logarithmic(y_min, y_max, marks.1) } else { Axis::rounded(y_min, y_max, marks.1) };
    Some((Axis::exact(x_min, x_max, marks.0, whole), y))
}

fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((min, max)) => Some((v.min(min), v.max(max))),
    })
}

/// The range from `low` to `high`, with marks at round values.
#[derive(Debug)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    pub(crate) ticks: Vec<Tick>,
}

/// A marked value and its label.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// A distance of 1, 2 or 5 times a power of ten, kept as integers so that its multiples are exact
/// decimals (0.3, not 0.30000000000000004).
#[derive(Debug, Clone, Copy)]
struct Step {
    mantissa: i64,
    exponent: i32,
}

impl Axis {
    /// From `min` to `max` exactly, about `count` marks inside; `whole` allows marks at integers only.
    fn exact(min: f64, max: f64, count: usize, whole: bool) -> Self {
        let (low, high) = widened(min, max);
        let step = Step::dividing(high - low, count, whole);
        let ticks = step.labelled((low / step.size()).ceil() as i64, (high / step.size()).floor() as i64);
        Self { low, high, logarithmic: false, ticks }
    }

    /// From the mark below `min` to the mark above `max`, linear.
    fn rounded(min: f64, max: f64, count: usize) -> Self {
        let (low, high) = widened(min, max);
        let step = Step::dividing(high - low, count, false);
        let ticks = step.labelled((low / step.size()).floor() as i64, (high / step.size()).ceil() as i64);
        let (low, high) = (ticks[0].value, ticks[ticks.len() - 1].value);
        Self { low, high, logarithmic: false, ticks }
    }

    /// From 1, 2 or 5 times a power of ten below `min` to one above `max`, logarithmic; `min` > 0.
    ///
    /// Less than a factor of 3 holds too few such values: marks are then spaced evenly in value.
    fn logarithmic(min: f64, max: f64, count: usize) -> Self {
        if max / min < 3.0 {
            return Self { logarithmic: true, ..Self::rounded(min, max, count) };
        }
        let grid: Vec<Step> = (decimal_exponent(min)..=decimal_exponent(max) + 1)
            .flat_map(|exponent| [1, 2, 5].map(|mantissa| Step { mantissa, exponent }))
            .collect();
        // The grid begins at or below `min` and ends above `max`.
        let first = grid.iter().rposition(|step| step.size() <= min).unwrap_or(0);
        let last = grid.iter().position(|step| step.size() >= max).unwrap_or(grid.len() - 1);
        let grid = &grid[first..=last];
        let decades = (grid[grid.len() - 1].exponent - grid[0].exponent) as usize;
        let stride = decades.div_ceil(count).max(1) as i32;
        let ticks = grid
            .iter()
            .filter(|step| grid.len() <= count + 2 || (step.mantissa == 1 && step.exponent % stride == 0))
            .map(|step| Tick { value: step.size(), label: step.label() })
            .collect();
        Self { low: grid[0].size(), high: grid[grid.len() - 1].size(), logarithmic: true, ticks }
    }

    /// 0 at the low end, 1 at the high end.
    pub(crate) fn position(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// A range that has a length: all values equal become the middle of one.
fn widened(min: f64, max: f64) -> (f64, f64) {
    let magnitude = min.abs().max(max.abs());
    if magnitude < DRAWABLE.start {
        (-1.0, 1.0)
    } else if max - min > 1e-9 * magnitude {
        (min, max)
    } else {
        (min - 0.5 * magnitude, max + 0.5 * magnitude)
    }
}

impl Step {
    /// The step that divides `span` into about `count` parts.
    fn dividing(span: f64, count: usize, whole: bool) -> Self {
        let wanted = span / count as f64;
        let exponent = decimal_exponent(wanted);
        let mantissa = wanted / 10f64.powi(exponent);
        // √2, √10, √50: the geometric means of neighbouring steps.
        let step = match mantissa {
            m if m < 1.41 => Self { mantissa: 1, exponent },
            m if m < 3.16 => Self { mantissa: 2, exponent },
            m if m < 7.07 => Self { mantissa: 5, exponent },
            _ => Self { mantissa: 1, exponent: exponent + 1 },
        };
        if whole && step.exponent < 0 { Self { mantissa: 1, exponent: 0 } } else { step }
    }

    fn size(self) -> f64 {
        self.times(1)
    }

    fn times(self, n: i64) -> f64 {
        let integer = (n * self.mantissa) as f64;
        match self.exponent {
            0.. => integer * 10f64.powi(self.exponent),
            _ => integer / 10f64.powi(-self.exponent),
        }
    }

    /// Multiples `first..=last` of the step, labelled alike: same unit, same number of decimals.
    fn labelled(self, first: i64, last: i64) -> Vec<Tick> {
        let largest = self.times(first).abs().max(self.times(last).abs());
        let unit = Unit::for_magnitude(largest);
        let tick = |n| Tick { value: self.times(n), label: unit.label(self.times(n), self.exponent) };
        (first..=last).map(tick).collect()
    }

    /// Label of the step itself, as a mark of a logarithmic axis.
    fn label(self) -> String {
        match self.exponent {
            -3..=3 => format!("{:.*}", (-self.exponent).max(0) as usize, self.size()),
            _ => scientific(self.size(), 0),
        }
    }
}

/// How the labels of one axis are written.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// In units of 10^exponent, with the suffix of that unit.
    Suffix { exponent: i32, suffix: &'static str },
    /// As mantissa times a power of ten.
    Scientific,
}

impl Unit {
    fn for_magnitude(largest: f64) -> Self {
        match largest {
            m if m != 0.0 && !(1e-3..1e12).contains(&m) => Unit::Scientific,
            m if m >= 1e9 => Unit::Suffix { exponent: 9, suffix: "G" },
            m if m >= 1e6 => Unit::Suffix { exponent: 6, suffix: "M" },
            m if m >= 1e4 => Unit::Suffix { exponent: 3, suffix: "k" },
            _ => Unit::Suffix { exponent: 0, suffix: "" },
        }
    }

    fn label(self, value: f64, step_exponent: i32) -> String {
        if value == 0.0 {
            return "0".into();
        }
        match self {
            Unit::Suffix { exponent, suffix } => {
                let decimals = (exponent - step_exponent).max(0) as usize;
                format!("{}{:.decimals$}{suffix}", sign(value), value.abs() / 10f64.powi(exponent))
            }
            Unit::Scientific => scientific(value, (decimal_exponent(value) - step_exponent).max(0) as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::rounded(0.013, 0.94, 5)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::exact(1.0, 20_000.0, 5, true)), ["5k", "10k", "15k", "20k"]);
        assert_eq!(labels(&Axis::exact(1.0, 3.0, 6, true)), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::rounded(-1.7, 1.2, 4)), ["\u{2212}2", "\u{2212}1", "0", "1", "2"]);
        assert_eq!(labels(&Axis::rounded(0.0, 3.1e-4, 3)), ["0", "10⁻⁴", "2×10⁻⁴", "3×10⁻⁴", "4×10⁻⁴"]);
        assert_eq!(labels(&Axis::logarithmic(0.03, 0.9, 5)), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(&Axis::logarithmic(1.5e-6, 7.0, 4)), ["10⁻⁶", "10⁻⁴", "0.01", "1"]);
        assert_eq!(labels(&Axis::logarithmic(0.11, 0.13, 4)), ["0.110", "0.115", "0.120", "0.125", "0.130"]);
    }

    #[test]
    fn every_tick_is_a_multiple_of_1_2_or_5_times_a_power_of_ten() {
        for (min, max) in [(0.1, 0.3), (-7e-9, 5e-9), (3.3, 1e7), (1e20, 3e22), (-1e99, 1e99), (0.0, 0.0)] {
            let axis = Axis::rounded(min, max, 5);
            let ticks = &axis.ticks;
            assert!((2..=12).contains(&ticks.len()), "{min}..{max}: {ticks:?}");
            assert!(axis.position(min) >= -1e-9 && axis.position(max) <= 1.0 + 1e-9);
            let distance = ticks[1].value - ticks[0].value;
            let mantissa = distance / 10f64.powi(decimal_exponent(distance * (1.0 + 1e-9)));
            assert!([1.0, 2.0, 5.0].iter().any(|m| (mantissa - m).abs() < 1e-6), "{min}..{max}: {mantissa}");
            for tick in ticks {
                let multiple = tick.value / distance;
                assert!((multiple - multiple.round()).abs() < 1e-6, "{min}..{max}: {}", tick.value);
            }
        }
    }

    #[test]
    fn equal_values_lie_in_the_middle() {
        assert_eq!(Axis::exact(100.0, 100.0, 5, true).position(100.0), 0.5);
        assert!((Axis::logarithmic(0.2, 0.2, 5).position(0.2) - 0.5).abs() < 0.2);
    }
}
