//! The page: comparison and curves in one HTML file, in the frame of the evaluation's report.

use std::path::{Path, PathBuf};

use super::compare::{Comparison, comparison};
use super::plot::{Options, Plot, curves};
use super::text::part_rows;
use super::{open_all, svg};
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::report::{Content, Report, Section, Table};

/// What the report makes of no charts: where ours go. No text can look like it, texts are escaped.
const EMPTY_CHARTS: &str = "<div class=\"charts\">\n</div>\n";
const END_OF_STYLE: &str = "</style>\n";
/// Behind the better value, and as wide a space behind any other, so that the digits stay under each other.
const BETTER: [&str; 2] = ["\u{a0}★", "\u{a0}\u{2003}"];
/// Colours that colour-blind people can tell apart.
const STYLE: &str = include_str!("page.css");

/// The page of the runs at `paths`.
///
/// # Errors
/// As [`super::plot::plot`]; `Error::Format` for a broken recipe.
pub fn html(paths: &[PathBuf], options: &Options) -> Result<String> {
    let (runs, names) = open_all(paths, 1)?;
    let plot = curves(&runs, names.clone(), options)?;
    render(&comparison(&runs, names, options.part)?, &plot)
}

/// Writes [`html()`] to `out`, whole or not at all.
///
/// # Errors
/// As [`html()`]; `Error::Argument` if `out` names no file; `Error::Io`.
pub fn write(paths: &[PathBuf], options: &Options, out: &Path) -> Result<()> {
    if out.file_name().is_none() || out.is_dir() {
        return Err(Error::argument("--out", "a file to write, such as runs.html", out.display()));
    }
    atomic::write(out, html(paths, options)?.as_bytes())
}

fn render(comparison: &Comparison, plot: &Plot) -> Result<String> {
    let labels: Vec<String> = comparison.runs.iter().map(|run| run.label.clone()).collect();
    let several = labels.len() > 1;
    let mut sections = Vec::new();
    if several {
        sections.push(recipe(comparison, &labels));
    }
    sections.push(numbers(comparison, &labels));
    let mut charts = Vec::new();
    for part in &comparison.parts {
        let of_part: Vec<_> = plot.charts.iter().filter(|chart| chart.part == part.part).collect();
        if of_part.is_empty() {
            continue;
        }
        let smoothed = of_part.iter().flat_map(|chart| &chart.lines).any(|line| line.smooth.is_some());
        let text = if smoothed { "Light: every value. Bold: moving average." } else { "" };
        sections.push(Section {
            title: format!("Curves: {}", part.part),
            text: text.into(),
            content: Content::Charts(Vec::new()),
        });
        charts.push(of_part.into_iter().map(|chart| svg::figure(chart, &plot.runs)).collect::<String>());
    }
    let report = Report {
        title: if several { format!("{} runs compared", labels.len()) } else { format!("Run {}", labels[0]) },
        summary: comparison.runs.iter().map(|run| run.path.display().to_string()).collect(),
        facts: Vec::new(),
        sections,
    };
    Ok(with_charts(&with_style(&report.to_html()?), &charts))
}

/// The numbers of all parts in one table, so that its columns are the same.
fn numbers(comparison: &Comparison, labels: &[String]) -> Section {
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

fn recipe(comparison: &Comparison, labels: &[String]) -> Section {
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

fn with_style(html: &str) -> String {
    html.replacen(END_OF_STYLE, &format!("{STYLE}{END_OF_STYLE}"), 1)
}

/// `html` with its places for charts filled, in order.
fn with_charts(html: &str, charts: &[String]) -> String {
    let mut out = String::with_capacity(html.len() + charts.iter().map(String::len).sum::<usize>());
    let mut charts = charts.iter();
    for (index, piece) in html.split(EMPTY_CHARTS).enumerate() {
        if index > 0 {
            out += "<div class=\"charts\">\n";
            out.extend(charts.next().map(String::as_str));
            out += "</div>\n";
        }
        out += piece;
    }
    out
}
