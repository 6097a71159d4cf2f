//! How runs differ: their recipes, and the numbers that came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::folder::{RunFolder, TrainedPart};
use super::log::{Log, count_events};
use super::metric::{Direction, is_validation};
use super::series::{Point, Smoothing};
use super::{RunName, open_all, recipe};
use crate::error::{Error, Result};

/// Several runs side by side. Every list of values has one entry for each run, in the order of `runs`.
#[derive(Debug, Clone, Serialize)]
pub struct RunComparison {
    /// The runs.
    pub runs: Vec<RunName>,
    /// Keys whose values are not the same in all recipes.
    pub recipe: Vec<RecipeRow>,
    /// The parts that at least one of them has trained.
    pub parts: Vec<PartComparison>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A key of the recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecipeRow {
    /// Dotted from the top: `vae.training.steps`.
    pub key: String,
    /// Values as TOML; none where the key is missing.
    pub values: Vec<Option<String>>,
}

/// The numbers of a part.
#[derive(Debug, Clone, Serialize)]
pub struct PartComparison {
    /// The part.
    pub part: TrainedPart,
    /// The last step in each log.
    pub last_steps: Vec<Option<u64>>,
    /// The last step that all logs have; none where they end at the same step, or one is missing.
    pub common_step: Option<u64>,
    /// Losses first, then validation, then the rest.
    pub rows: Vec<NumberRow>,
    /// How often each kind of event happened.
    pub events: Vec<EventRow>,
}

/// One number of each run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberRow {
    /// Name in the log.
    pub metric: String,
    /// Which of its values.
    pub measure: Measure,
    /// None where the run has no such number.
    pub values: Vec<Option<ValueAtStep>>,
    /// Which values are good, where that is known.
    pub direction: Option<Direction>,
    /// Index of the run whose value is better than all others.
    pub better: Option<usize>,
}

/// Which value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The last one of a validation metric, the mean over the last 10 lines of any other.
    Last,
    /// The best of all.
    Best,
    /// As `Last`, over the lines up to the last step that all runs have.
    AtCommonStep,
}

/// A value and the step of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ValueAtStep {
    /// The value.
    pub value: f64,
    /// The last step that it depends on.
    pub step: u64,
}

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// `loss_spike`, `damaged_picture`, …
    pub kind: String,
    /// How often it happened.
    pub counts: Vec<u64>,
}

/// Compares the runs at `paths`, in all parts or one.
///
/// # Errors
/// `Error::Argument` for fewer than two runs, one run twice or a part that none has trained; `Error::Data`
/// for what is not a run; `Error::Io`; `Error::Format` for a broken recipe or log.
pub fn compare(paths: &[PathBuf], part: Option<TrainedPart>) -> Result<RunComparison> {
    let (runs, names) = open_all(paths, 2)?;
    comparison(&runs, names, part)
}

pub(super) fn comparison(
    runs: &[RunFolder],
    names: Vec<RunName>,
    part: Option<TrainedPart>,
) -> Result<RunComparison> {
    let recipes = runs.iter().map(recipe::read).collect::<Result<Vec<_>>>()?;
    let without = names.iter().zip(&recipes).filter(|(_, recipe)| recipe.is_none());
    let mut notes: Vec<String> =
        without.map(|(name, _)| format!("{} has no recipe.toml", name.label)).collect();
    let mut parts = Vec::new();
    for part in chosen(runs, part)? {
        parts.extend(compare_part(runs, part)?);
    }
    let rows = parts.iter().flat_map(|part: &PartComparison| &part.rows);
    if rows.clone().any(|row| row.better.is_some() && row.metric.contains("loss")) {
        notes
            .push("losses can be compared only where the runs compute the same loss on the same data".into());
    }
    let keys = recipe::differences(&recipes);
    let recipe = keys.into_iter().map(|(key, values)| RecipeRow { key, values }).collect();
    Ok(RunComparison { runs: names, recipe, parts, notes })
}

/// The parts that a user means: the one named, or those with a log.
///
/// # Errors
/// `Error::Argument` if no run has a log of the part, or of any.
pub(super) fn chosen(runs: &[RunFolder], part: Option<TrainedPart>) -> Result<Vec<TrainedPart>> {
    let logged = |part: &TrainedPart| runs.iter().any(|run| run.log(*part).is_file());
    let all: Vec<TrainedPart> = TrainedPart::ALL.into_iter().filter(logged).collect();
    if all.is_empty() {
        return Err(Error::data("runs", "one with lines in logs/", "empty logs"));
    }
    match part {
        Some(part) if !all.contains(&part) => {
            let names: Vec<String> = all.iter().map(TrainedPart::to_string).collect();
            Err(Error::argument("part", format!("a part with a log: {}", names.join(", ")), part))
        }
        Some(part) => Ok(vec![part]),
        None => Ok(all),
    }
}

fn read_logs(runs: &[RunFolder], part: TrainedPart, until: Option<f64>) -> Result<Vec<Log>> {
    runs.iter().map(|run| Log::read(&run.log(part), Smoothing::By(0.0), until)).collect()
}

fn compare_part(runs: &[RunFolder], part: TrainedPart) -> Result<Option<PartComparison>> {
    let logs = read_logs(runs, part, None)?;
    let last_steps: Vec<Option<f64>> = logs.iter().map(Log::last_step).collect();
    if last_steps.iter().all(Option::is_none) {
        return Ok(None);
    }
    let shortest = last_steps.iter().copied().collect::<Option<Vec<f64>>>();
    let shortest = shortest.and_then(|steps| steps.into_iter().reduce(f64::min));
    let common = shortest.filter(|&step| last_steps.iter().flatten().any(|&last| last > step));
    let until_common = common.map(|step| read_logs(runs, part, Some(step))).transpose()?;

    let mut rows = Vec::new();
    for metric in metrics(&logs) {
        let points = |logs: &[Log]| logs.iter().map(|log| log.get(metric)?.last()).collect();
        rows.push(row(metric, Measure::Last, points(&logs)));
        if is_validation(metric) && Direction::of(metric).is_some() {
            let best = logs.iter().map(|log| log.get(metric)?.best()).collect();
            rows.push(row(metric, Measure::Best, best));
        }
        // Equal steps are for judging: of the rest, where it stands is enough.
        if let Some(logs) = until_common.as_ref().filter(|_| Direction::of(metric).is_some()) {
            rows.push(row(metric, Measure::AtCommonStep, points(logs)));
        }
    }
    Ok(Some(PartComparison {
        part,
        last_steps: last_steps.iter().map(|last| last.map(|step| step as u64)).collect(),
        common_step: common.map(|step| step as u64),
        rows,
        events: events(runs, part)?,
    }))
}

/// Names of all metrics: losses first, then validation, then the rest, each in the order of the logs.
pub(super) fn metrics(logs: &[Log]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for series in logs.iter().flat_map(|log| &log.series) {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    names.sort_by_key(|&name| match name {
        "loss" => 0,
        "validation_loss" => 1,
        name if is_validation(name) => 2,
        _ => 3,
    });
    names
}

fn row(metric: &str, measure: Measure, points: Vec<Option<Point>>) -> NumberRow {
    let direction = Direction::of(metric);
    let values: Vec<Option<ValueAtStep>> = points
        .into_iter()
        .map(|point| point.map(|(step, value)| ValueAtStep { value, step: step as u64 }))
        .collect();
    let better = direction.and_then(|direction| better(&values, direction));
    NumberRow { metric: metric.to_owned(), measure, values, direction, better }
}

/// The value that is better than all others; none in a tie, or if it stands alone.
fn better(values: &[Option<ValueAtStep>], direction: Direction) -> Option<usize> {
    let present =
        || values.iter().enumerate().filter_map(|(index, value)| Some((index, value.as_ref()?.value)));
    let beats_others = |&(index, value): &(usize, f64)| {
        present().all(|(other, its)| other == index || direction.prefers(value, its))
    };
    if present().count() < 2 { None } else { present().find(beats_others).map(|(index, _)| index) }
}

fn events(runs: &[RunFolder], part: TrainedPart) -> Result<Vec<EventRow>> {
    let counts =
        runs.iter().map(|run| count_events(&run.events(part))).collect::<Result<Vec<BTreeMap<_, _>>>>()?;
    let kinds: BTreeSet<&String> = counts.iter().flat_map(BTreeMap::keys).collect();
    let row = |kind: &&String| EventRow {
        kind: (*kind).clone(),
        counts: counts.iter().map(|of| of.get(*kind).copied().unwrap_or(0)).collect(),
    };
    Ok(kinds.iter().map(row).collect())
}
