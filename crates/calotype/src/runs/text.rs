//! Listings and comparisons as aligned tables for a terminal.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::compare::{Measure, NumberRow, PartComparison, RunComparison, ValueAtStep};
use super::scan::{Listing, PartState, PartSummary, RunSummary};
use crate::report::number::readable;

/// Behind the better value, and behind any other.
const BETTER: [&str; 2] = [" *", ""];

/// The runs, one line for each part; `now` is the time of reading.
pub fn listing(listing: &Listing, now: SystemTime) -> String {
    if listing.runs.is_empty() {
        return format!("no runs in {}\n", printable(&listing.folder.display().to_string()));
    }
    let headings = ["run", "changed", "size", "part", "steps", "state", "loss", "best validation", "events"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for run in &listing.runs {
        rows.extend(run_rows(run, now));
    }
    table(&rows, &[2, 4, 6])
}

fn run_rows(run: &RunSummary, now: SystemTime) -> Vec<Vec<String>> {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(run.changed);
    let of_run = [run.path.display().to_string(), ago(changed, now), size(run.bytes)];
    let nothing = || vec!["-".to_owned(); 6];
    let mut parts: Vec<Vec<String>> = run.parts.iter().map(part_cells).collect();
    if parts.is_empty() {
        parts.push(nothing());
    }
    let first = std::iter::once(of_run.to_vec()).chain(std::iter::repeat(vec![String::new(); 3]));
    first.zip(parts).map(|(run, part)| [run, part].concat()).collect()
}

fn part_cells(part: &PartSummary) -> Vec<String> {
    let count = |steps: Option<u64>| steps.map_or("?".into(), |steps| steps.to_string());
    let best = part.best_validation.first().map(|best| {
        let metric = best.metric.trim_start_matches("validation_");
        format!("{metric} {} at {}", readable(best.value), best.step)
    });
    let events: Vec<String> = part.events.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    vec![
        part.part.to_string(),
        format!("{}/{}", count(part.steps), count(part.planned)),
        match part.state {
            PartState::Done => "done",
            PartState::Unfinished => "unfinished",
            PartState::Unknown => "?",
            PartState::NotStarted => "not started",
        }
        .into(),
        part.last_loss.map_or("-".into(), readable),
        best.unwrap_or("-".into()),
        if events.is_empty() { "-".into() } else { events.join(", ") },
    ]
}

/// The comparison: recipes, then the numbers of each part; `*` marks the better value.
pub fn comparison(comparison: &RunComparison) -> String {
    let labels: Vec<String> = comparison.runs.iter().map(|run| run.label.clone()).collect();
    let headed = |heading: &str| [vec![heading.to_owned()], labels.clone()].concat();
    let mut out = String::new();
    if comparison.recipe.is_empty() {
        out += "the recipes do not differ\n";
    } else {
        let mut rows = vec![headed("recipe")];
        rows.extend(comparison.recipe.iter().map(|row| {
            let values = row.values.iter().map(|value| value.clone().unwrap_or("-".into()));
            std::iter::once(row.key.clone()).chain(values).collect()
        }));
        out += &table(&rows, &[]);
    }
    for part in &comparison.parts {
        let rows = [vec![headed(&part.part.to_string())], part_rows(part, BETTER)].concat();
        let _ = write!(out, "\n{}", table(&rows, &[]));
    }
    if comparison.parts.iter().flat_map(|part| &part.rows).any(|row| row.better.is_some()) {
        out += "\n* better\n";
    }
    for note in &comparison.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    out
}

/// The rows of a part: a label, then a cell for each run; `marks` stand behind the better value and behind
/// every other cell.
pub(super) fn part_rows(part: &PartComparison, marks: [&str; 2]) -> Vec<Vec<String>> {
    let [_, plain] = marks;
    let step = |step: &Option<u64>| step.map_or("-".into(), |step| step.to_string()) + plain;
    let steps = part.last_steps.iter().map(step);
    let mut rows = vec![std::iter::once("last step".to_owned()).chain(steps).collect()];
    for row in &part.rows {
        let cells = row.values.iter().enumerate().map(|(run, value)| {
            number_cell(row, run, *value, part) + marks[usize::from(row.better != Some(run))]
        });
        rows.push(std::iter::once(row_label(row, part)).chain(cells).collect());
    }
    for event in &part.events {
        let counts = event.counts.iter().map(|count| format!("{count}{plain}"));
        rows.push(std::iter::once(format!("events: {}", event.kind)).chain(counts).collect());
    }
    rows
}

fn row_label(row: &NumberRow, part: &PartComparison) -> String {
    match (row.measure, part.common_step) {
        (Measure::Last, _) => row.metric.clone(),
        (Measure::Best, _) => format!("{}, best", row.metric),
        (Measure::AtCommonStep, Some(step)) => format!("{} at step {step}", row.metric),
        (Measure::AtCommonStep, None) => format!("{} at equal steps", row.metric),
    }
}

/// A value, with its step where the row does not say it.
fn number_cell(row: &NumberRow, run: usize, value: Option<ValueAtStep>, part: &PartComparison) -> String {
    let Some(ValueAtStep { value, step }) = value else { return "-".into() };
    let expected = match row.measure {
        Measure::Last => part.last_steps.get(run).copied().flatten(),
        Measure::Best => None,
        Measure::AtCommonStep => part.common_step,
    };
    // Lines of training come every few steps: the last one is seldom at the very end.
    let named = row.measure == Measure::Best || row.metric.starts_with("validation");
    let at = if named && expected != Some(step) { format!(" at {step}") } else { String::new() };
    format!("{}{at}", readable(value))
}

/// Columns under each other, two spaces apart; those in `right` are aligned right.
fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = if right.contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// A name from a file as a terminal may see it: no control characters, which could move the cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Bytes in units of a thousand: `1.2 GB`.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let decimals = usize::from(unit != "B" && value < 9.95);
    format!("{value:.decimals$} {unit}")
}

/// How long before `now` something was: `2 h ago`.
pub(super) fn ago(then: SystemTime, now: SystemTime) -> String {
    // A clock that went back, or another machine's.
    let Ok(past) = now.duration_since(then) else { return "just now".into() };
    match past.as_secs() {
        0..60 => "just now".into(),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
