//! The curves of runs, ready to be drawn.

use std::path::PathBuf;

use serde::Serialize;

use super::compare::{chosen, metrics};
use super::folder::{RunFolder, TrainedPart};
use super::log::Log;
use super::metric::spans_magnitudes;
pub use super::series::Smoothing;
use super::{RunName, open_all};
use crate::error::{Error, Result};
use crate::report::axis::DRAWABLE;

/// A positive curve that spans more than this factor is drawn on a logarithmic axis.
const LOGARITHMIC_ABOVE: f64 = 20.0;

/// What to draw.
#[derive(Debug, Clone)]
pub struct PlotOptions {
    /// Only this part; otherwise all that have a log.
    pub part: Option<TrainedPart>,
    /// Only this metric; otherwise all.
    pub metric: Option<String>,
    /// How curves are smoothed.
    pub smoothing: Smoothing,
}

/// Curves of several runs, one over the other.
#[derive(Debug, Clone, Serialize)]
pub struct Plot {
    /// The runs.
    pub runs: Vec<RunName>,
    /// One for each part and metric.
    pub charts: Vec<RunChart>,
}

/// One metric of one part.
#[derive(Debug, Clone, Serialize)]
pub struct RunChart {
    /// The part.
    pub part: TrainedPart,
    /// Name in the log.
    pub metric: String,
    /// Whether the y axis should be logarithmic; all values are positive then.
    pub log_y: bool,
    /// One for each run, in the order of the plot's `runs`; without points where a run has none.
    pub lines: Vec<Line>,
}

/// One metric of one run. Points are (step, value); a value that is NaN (in JSON `null`) is a gap.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Line {
    /// The values, thinned to about a thousand points that keep every spike.
    pub raw: Vec<(f64, f64)>,
    /// Their moving average, if it is wanted.
    pub smooth: Option<Vec<(f64, f64)>>,
    /// How many values are not finite.
    pub not_finite: u64,
    /// The last value: of a training metric the mean over the last 10 lines.
    pub last: Option<f64>,
}

/// Reads the curves of the runs at `paths`.
///
/// # Errors
/// `Error::Argument` for no run, one run twice, a part that none has trained, or a metric that none has
/// logged (those that exist are listed); `Error::Data` for what is not a run; `Error::Io`;
/// `Error::Format` for a broken log.
pub fn plot(paths: &[PathBuf], options: &PlotOptions) -> Result<Plot> {
    let (runs, names) = open_all(paths, 1)?;
    curves(&runs, names, options)
}

pub(super) fn curves(runs: &[RunFolder], names: Vec<RunName>, options: &PlotOptions) -> Result<Plot> {
    let (mut charts, mut known) = (Vec::new(), Vec::new());
    for part in chosen(runs, options.part)? {
        let read = |run: &RunFolder| Log::read(&run.log(part), options.smoothing, None);
        let logs = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
        for metric in metrics(&logs) {
            if options.metric.as_ref().is_none_or(|wanted| wanted == metric) {
                charts.push(chart(part, metric, &logs));
            }
            if !known.iter().any(|name| name == metric) {
                known.push(metric.to_owned());
            }
        }
    }
    match &options.metric {
        Some(wanted) if charts.is_empty() => {
            let expected = if known.is_empty() { "a log with lines".into() } else { known.join(", ") };
            Err(Error::argument("metric", format!("one of {expected}"), format!("`{wanted}`")))
        }
        _ => Ok(Plot { runs: names, charts }),
    }
}

fn chart(part: TrainedPart, metric: &str, logs: &[Log]) -> RunChart {
    let lines: Vec<Line> = logs.iter().map(|log| line(log, metric)).collect();
    let values = || lines.iter().flat_map(|line| &line.raw).map(|point| point.1).filter(|y| !y.is_nan());
    let (low, high) = values().fold((f64::INFINITY, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    // The smallest magnitudes have no place on a logarithmic axis.
    let log_y = spans_magnitudes(metric) && low > DRAWABLE.start && high / low > LOGARITHMIC_ABOVE;
    RunChart { part, metric: metric.to_owned(), log_y, lines }
}

fn line(log: &Log, metric: &str) -> Line {
    log.get(metric).map_or(Line::default(), |series| Line {
        raw: series.raw(),
        smooth: series.smooth(),
        not_finite: series.not_finite,
        last: series.last().map(|(_, value)| value),
    })
}

impl Line {
    /// What a reader should follow: the average, or the values where there is none.
    pub fn main(&self) -> &[(f64, f64)] {
        self.smooth.as_deref().unwrap_or(&self.raw)
    }
}
