//! The page: heading, headline numbers, contents, sections.

use super::{Chart, Content, FigureRow, Report, Section, Table, chart, picture};
use crate::error::{Error, Result};

/// Text as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            other => escaped.push(other),
        }
    }
    escaped
}

/// The whole document.
pub(super) fn html(report: &Report) -> Result<String> {
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"Calotype\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n",
        include_str!("style.css")
    );
    for paragraph in &report.summary {
        out += &format!("<p>{}</p>\n", escape(paragraph));
    }
    out += "</header>\n";
    out += &facts(&report.facts);
    out += &contents(&report.sections);
    out += "<main>\n";
    for (index, part) in report.sections.iter().enumerate() {
        out += &section(index + 1, part)?;
    }
    Ok(out + "</main>\n</body>\n</html>\n")
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let tile = |(label, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(label), escape(value))
    };
    format!("<dl class=\"facts\">\n{}</dl>\n", facts.iter().map(tile).collect::<String>())
}

/// The table of contents, where there is enough to list.
fn contents(sections: &[Section]) -> String {
    if sections.len() < 3 {
        return String::new();
    }
    let entry = |(index, section): (usize, &Section)| {
        format!("<li><a href=\"#section-{}\">{}</a></li>\n", index + 1, escape(&section.title))
    };
    let entries: String = sections.iter().enumerate().map(entry).collect();
    format!("<nav aria-label=\"Contents\"><ol>\n{entries}</ol></nav>\n")
}

fn section(number: usize, section: &Section) -> Result<String> {
    let mut out = format!("<section id=\"section-{number}\">\n<h2>{}</h2>\n", escape(&section.title));
    for paragraph in section.text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
        out += &format!("<p>{}</p>\n", escape(paragraph));
    }
    out += &match &section.content {
        Content::Charts(charts) => self::charts(charts),
        Content::Figures(rows) => rows.iter().map(figure_row).collect::<Result<String>>()?,
        Content::Table(content) => table(content, &section.title)?,
    };
    Ok(out + "</section>\n")
}

fn charts(charts: &[Chart]) -> String {
    let smoothed = charts.iter().flat_map(|chart| &chart.curves).any(|curve| curve.smooth.is_some());
    let key = if smoothed { "<p>Light: every value. Bold: moving average.</p>\n" } else { "" };
    format!("{key}<div class=\"charts\">\n{}</div>\n", charts.iter().map(chart::html).collect::<String>())
}

fn figure_row(row: &FigureRow) -> Result<String> {
    let figures = row.figures.iter().map(picture::html).collect::<Result<String>>()?;
    Ok(format!("<div class=\"figures\">\n{figures}</div>\n"))
}

fn table(table: &Table, section: &str) -> Result<String> {
    if let Some((index, row)) = table.rows.iter().enumerate().find(|(_, r)| r.len() != table.columns.len()) {
        let what = format!("row {} of the report's table `{section}`", index + 1);
        return Err(Error::shape(what, format!("{} cells", table.columns.len()), row.len()));
    }
    let classes: Vec<&str> = (0..table.columns.len()).map(|column| column_class(table, column)).collect();
    let line = |tag: &str, texts: &[String]| {
        let cells = texts.iter().zip(&classes).map(|(text, class)| format!("<{tag}{class}>{}", escape(text)));
        format!("<tr>{}\n", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|row| line("td", row)).collect();
    // tabindex: a table wider than the page can be scrolled with the keyboard.
    Ok(format!(
        "<div class=\"table\" tabindex=\"0\"><table>\n<thead>\n{}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        line("th", &table.columns)
    ))
}

/// Columns of numbers are aligned right.
fn column_class(table: &Table, column: usize) -> &'static str {
    let mut cells = table.rows.iter().map(|row| row[column].trim()).filter(|cell| !is_blank(cell)).peekable();
    let numeric = cells.peek().is_some() && cells.all(begins_like_a_number);
    if numeric { " class=\"number\"" } else { "" }
}

/// An empty cell, or a dash that stands for one.
fn is_blank(cell: &str) -> bool {
    matches!(cell, "" | "-" | "–" | "—")
}

fn begins_like_a_number(cell: &str) -> bool {
    let unsigned = cell.trim_start_matches(['+', '-', '−', '±', '<', '>', '≤', '≥', '~', '≈', ' ', '.']);
    unsigned.starts_with(|c: char| c.is_ascii_digit())
}
