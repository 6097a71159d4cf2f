//! The page: comparison and curves in one HTML file, in the frame of the evaluation's report.

use std::path::{Path, PathBuf};

use super::compare::{RunComparison, comparison};
use super::plot::{Line, PlotOptions, RunChart, curves};
use super::text::part_rows;
use super::{RunName, open_all};
use crate::error::{Error, Result};
use crate::report::{Chart, Content, Curve, Report, Section, Table};

/// Behind the better value, and as wide a space behind any other, so that the digits stay under each other.
const BETTER: [&str; 2] = ["\u{a0}★", "\u{a0}\u{2003}"];

/// The page of the runs at `paths`.
///
/// # Errors
/// As [`super::plot::plot`]; `Error::Format` for a broken recipe.
pub fn report(paths: &[PathBuf], options: &PlotOptions) -> Result<Report> {
    let (runs, names) = open_all(paths, 1)?;
    let plot = curves(&runs, names.clone(), options)?;
    let comparison = comparison(&runs, names, options.part)?;
    let labels: Vec<String> = comparison.runs.iter().map(|run| run.label.clone()).collect();
    let several = labels.len() > 1;
    let mut sections = Vec::new();
    if several {
        sections.push(recipe(&comparison, &labels));
    }
    sections.push(numbers(&comparison, &labels));
    for part in &comparison.parts {
        let charts: Vec<Chart> = plot
            .charts
            .iter()
            .filter(|chart| chart.part == part.part)
            .map(|chart| drawn(chart, &plot.runs))
            .collect();
        if !charts.is_empty() {
            let title = format!("Curves: {}", part.part);
            sections.push(Section { title, text: String::new(), content: Content::Charts(charts) });
        }
    }
    Ok(Report {
        title: if several { format!("{} runs compared", labels.len()) } else { format!("Run {}", labels[0]) },
        summary: comparison.runs.iter().map(|run| run.path.display().to_string()).collect(),
        facts: Vec::new(),
        sections,
    })
}

/// Writes the [`report`] to `out`, whole or not at all.
///
/// # Errors
/// As [`report`]; `Error::Argument` if `out` names no file; `Error::Io`.
pub fn write(paths: &[PathBuf], options: &PlotOptions, out: &Path) -> Result<()> {
    if out.file_name().is_none() || out.is_dir() {
        return Err(Error::argument("out", "a file to write, such as runs.html", out.display()));
    }
    report(paths, options)?.write(out)
}

/// A chart with a curve for each run.
fn drawn(chart: &RunChart, runs: &[RunName]) -> Chart {
    let curve = |(run, line): (&RunName, &Line)| Curve {
        name: run.label.clone(),
        raw: line.raw.clone(),
        smooth: line.smooth.clone(),
        last: line.last,
        left_out: line.not_finite,
    };
    Chart {
        title: chart.metric.clone(),
        x_label: "step".into(),
        y_label: String::new(),
        log_y: chart.log_y,
        curves: runs.iter().zip(&chart.lines).map(curve).collect(),
    }
}

/// The numbers of all parts in one table, so that its columns are the same.
fn numbers(comparison: &RunComparison, labels: &[String]) -> Section {
    let mut rows = Vec::new();
    for part in &comparison.parts {
        let named = |row: Vec<String>| [vec![part.part.to_string()], row].concat();
        rows.extend(part_rows(part, BETTER).into_iter().map(named));
    }
    let star = comparison.parts.iter().flat_map(|part| &part.rows).any(|row| row.better.is_some());
    let mut text =
        "Training numbers are means over the last 10 lines of the log, validation numbers the last ones."
            .to_owned();
    if star {
        text += " A star marks the better one, where it is known which is.";
    }
    for note in &comparison.notes {
        text += &format!("\n\nNote: {note}.");
    }
    let columns = [vec!["part".to_owned(), "number".into()], labels.to_vec()].concat();
    Section { title: "Numbers".into(), text, content: Content::Table(Table { columns, rows }) }
}

fn recipe(comparison: &RunComparison, labels: &[String]) -> Section {
    let cell = |value: &Option<String>| value.clone().unwrap_or("-".into());
    let rows: Vec<Vec<String>> = comparison
        .recipe
        .iter()
        .map(|row| std::iter::once(row.key.clone()).chain(row.values.iter().map(cell)).collect())
        .collect();
    let text =
        if rows.is_empty() { "The recipes do not differ." } else { "Keys that are not the same in all." };
    let columns = [vec!["key".to_owned()], labels.to_vec()].concat();
    let content = Content::Table(Table { columns, rows });
    Section { title: "What differs in the recipes".into(), text: text.into(), content }
}
