//! Which runs lie below a folder, and how far each has come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use toml::Table;

use super::folder::{RunFolder, TrainedPart, files_by_steps};
use super::log::{Log, count_events};
use super::metric::is_validation;
use super::recipe;
use super::series::{Series, Smoothing};
use crate::error::{Error, Result};

/// Runs lie at most so many folders below the one that is searched.
const DEPTH: usize = 3;

/// The runs below a folder.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// The folder that was searched.
    pub folder: PathBuf,
    /// The last changed first.
    pub runs: Vec<RunSummary>,
    /// What could not be read; a broken run does not hide the others.
    pub warnings: Vec<String>,
}

/// A run at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The folder.
    pub path: PathBuf,
    /// What it trains: parts with a log or a checkpoint.
    pub parts: Vec<PartSummary>,
    /// Whether `best/` has the best weights so far.
    pub has_best: bool,
    /// Size of all files, in bytes.
    pub bytes: u64,
    /// Time of the last change of a file, in seconds since 1970 (UTC).
    pub changed: u64,
}

/// How far the training of a part has come.
#[derive(Debug, Clone, Serialize)]
pub struct PartSummary {
    /// The part.
    pub part: TrainedPart,
    /// Steps done: by the last checkpoint or the log, whichever is further.
    pub steps: Option<u64>,
    /// Steps in the last checkpoint, from which `--resume` goes on.
    pub checkpoint: Option<u64>,
    /// Steps that the recipe plans.
    pub planned: Option<u64>,
    /// Whether it is complete.
    pub state: PartState,
    /// Mean of the losses on the last 10 lines.
    pub last_loss: Option<f64>,
    /// The best value of each validation metric whose direction is known; `validation_loss` first.
    pub best_validation: Vec<BestValue>,
    /// How often each kind of event happened.
    pub events: BTreeMap<String, u64>,
}

/// Whether a part is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// All planned steps are done.
    Done,
    /// Some are.
    Unfinished,
    /// Some are, and it is not known how many are planned.
    Unknown,
    /// None is.
    NotStarted,
}

/// The best value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BestValue {
    /// Name in the log.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// When it was measured.
    pub step: u64,
}

/// Every run in `folder` or at most three folders below it; what lies in a run is not searched.
///
/// # Errors
/// `Error::Io` if `folder` cannot be read. What is wrong with a single run is a warning.
pub fn list(folder: &Path) -> Result<Listing> {
    fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    find(folder, DEPTH, &mut found, &mut warnings);
    let mut runs = Vec::new();
    for run in found {
        match summary(&run, &mut warnings) {
            Ok(summary) => runs.push(summary),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    runs.sort_by(|one, next| next.changed.cmp(&one.changed).then_with(|| one.path.cmp(&next.path)));
    Ok(Listing { folder: folder.to_owned(), runs, warnings })
}

fn find(folder: &Path, depth: usize, found: &mut Vec<RunFolder>, warnings: &mut Vec<String>) {
    let run = RunFolder::new(folder);
    if run.is_run() {
        return found.push(run);
    }
    if depth == 0 {
        return;
    }
    match fs::read_dir(folder) {
        Ok(entries) => {
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
                find(&path, depth - 1, found, warnings);
            }
        }
        Err(error) => warnings.push(Error::io("read", folder)(error).to_string()),
    }
}

/// One run at a glance. A broken recipe or log goes to `warnings`, and what depends on it is left out.
///
/// # Errors
/// `Error::Io` if the folder has gone.
fn summary(run: &RunFolder, warnings: &mut Vec<String>) -> Result<RunSummary> {
    let recipe = or_warn(recipe::read(run), warnings).flatten();
    let parts =
        TrainedPart::ALL.iter().filter_map(|&part| part_summary(run, part, recipe.as_ref(), warnings));
    let parts = parts.collect();
    let (bytes, changed) = size_and_change(run.path())?;
    let changed = changed.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Ok(RunSummary { path: run.path().to_owned(), parts, has_best: run.all_best().is_dir(), bytes, changed })
}

fn or_warn<T>(result: Result<T>, warnings: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| warnings.push(error.to_string())).ok()
}

fn part_summary(
    run: &RunFolder,
    part: TrainedPart,
    recipe: Option<&Table>,
    warnings: &mut Vec<String>,
) -> Option<PartSummary> {
    let planned = recipe.and_then(|recipe| recipe::planned_steps(recipe, part));
    let log = or_warn(Log::read(&run.log(part), Smoothing::Auto, None), warnings);
    let is_readable = log.is_some();
    let log = log.unwrap_or_default();
    let events = or_warn(count_events(&run.events(part)), warnings).unwrap_or_default();
    let saved = files_by_steps(&run.checkpoints(part)).ok();
    let checkpoint = saved.and_then(|saved| saved.last().map(|(steps, _)| *steps as u64));
    let logged = log.last_step().map(|step| step as u64);
    let steps = checkpoint.max(logged);
    // A plan alone is no sign that a run trains this part: recipes may name all three.
    if steps.is_none() && !run.log(part).is_file() {
        return None;
    }
    // The line of step n is written during it, when n steps are behind it.
    let behind = checkpoint.max(logged.map(|step| step.saturating_add(1)));
    let done = planned.is_some_and(|planned| behind >= Some(planned));
    let state = match steps {
        _ if done => PartState::Done,
        None if is_readable => PartState::NotStarted,
        _ if planned.is_none() => PartState::Unknown,
        _ => PartState::Unfinished,
    };
    let steps = if done { steps.max(planned) } else { steps };
    let last_loss = log.get("loss").and_then(Series::last).map(|(_, loss)| loss);
    let mut best: Vec<BestValue> =
        log.series.iter().filter(|s| is_validation(&s.name)).filter_map(best).collect();
    best.sort_by_key(|best| best.metric != "validation_loss");
    Some(PartSummary { part, steps, checkpoint, planned, state, last_loss, best_validation: best, events })
}

fn best(series: &Series) -> Option<BestValue> {
    let (step, value) = series.best()?;
    Some(BestValue { metric: series.name.clone(), value, step: step as u64 })
}

/// Bytes of all files below a folder, and when the last of them changed; links are not followed.
fn size_and_change(folder: &Path) -> Result<(u64, SystemTime)> {
    let (mut bytes, mut changed) = (0, SystemTime::UNIX_EPOCH);
    let mut folders = vec![folder.to_owned()];
    fs::read_dir(folder).map_err(Error::io("read", folder))?;
    while let Some(folder) = folders.pop() {
        // Training writes while we look: what has gone meanwhile does not count.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            if facts.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += facts.len();
                changed = changed.max(facts.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            }
        }
    }
    Ok((bytes, changed))
}
