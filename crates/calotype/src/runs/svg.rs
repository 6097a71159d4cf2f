//! One chart of the page, in the classes of the report's style sheet.
//!
//! The report's own charts choose their smoothing; these draw what [`super::plot`] has smoothed.

use std::fmt::Write;

use super::RunName;
use super::plot::{Line, RunChart, pieces};
use crate::report::axis::{Axis, Tick};
use crate::report::number::readable;
use crate::report::page::escape;

/// Curves of up to so many points show each as a dot.
const MOST_DOTS: usize = 24;
/// Colours in the page's style sheet; later runs have them again, dashed.
const COLOURS: usize = 6;

/// The chart as an HTML `figure`.
pub(super) fn figure(chart: &RunChart, runs: &[RunName]) -> String {
    let mut out = format!("<figure class=\"chart\">\n<figcaption>\n<h3>{}</h3>\n", escape(&chart.metric));
    legend(&mut out, chart, runs);
    out += "</figcaption>\n";
    match axes(chart) {
        Some((x, y)) => plot_area(&mut out, chart, runs, &x, &y),
        None => out += "<p class=\"empty\">No values to draw.</p>\n",
    }
    out + "</figure>\n"
}

/// The axes around everything drawn; none if there is nothing.
fn axes(chart: &RunChart) -> Option<(Axis, Axis)> {
    let points = || chart.lines.iter().flat_map(|line| &line.raw).filter(|point| !point.1.is_nan());
    let first = points().next()?;
    let (mut x, mut y) = ((first.0, first.0), (first.1, first.1));
    for point in points() {
        x = (x.0.min(point.0), x.1.max(point.0));
        y = (y.0.min(point.1), y.1.max(point.1));
    }
    let y = if chart.log_y { Axis::logarithmic(y.0, y.1, 5) } else { Axis::rounded(y.0, y.1, 5) };
    Some((Axis::exact(x.0, x.1, 5, true), y))
}

fn legend(out: &mut String, chart: &RunChart, runs: &[RunName]) {
    *out += "<ul class=\"legend\">\n";
    for (number, (run, line)) in runs.iter().zip(&chart.lines).enumerate() {
        let last = line.last.map_or("no values".into(), readable);
        let gaps = match line.not_finite {
            0 => String::new(),
            n => format!(" <small>{n} not finite</small>"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<li class=\"{}\"><svg class=\"key\" viewBox=\"0 0 20 8\" aria-hidden=\"true\"><path d=\"M0 4h20\"/></svg>\
             {} <b>{last}</b>{gaps}</li>",
            class(number),
            escape(&run.label),
        );
    }
    *out += "</ul>\n";
}

fn plot_area(out: &mut String, chart: &RunChart, runs: &[RunName], x: &Axis, y: &Axis) {
    let label_width = y.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
    let scale = if chart.log_y { "logarithmic" } else { "" };
    let _ = writeln!(out, "<p class=\"y-label\">{scale}</p>");
    let _ = writeln!(out, "<div class=\"plot\" style=\"margin-left:calc({label_width}ch + .8em)\">");
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escape(&description(chart, runs))
    );
    grid(out, x, y);
    let place = |&(step, value): &(f64, f64)| (1000.0 * x.position(step), 1000.0 * (1.0 - y.position(value)));
    // All light curves lie under all bold ones.
    for (number, line) in chart.lines.iter().enumerate().filter(|(_, line)| line.smooth.is_some()) {
        curve(out, number, "raw", &path(&line.raw, place));
    }
    for (number, line) in chart.lines.iter().enumerate() {
        curve(out, number, "line", &path(line.main(), place));
        if line.smooth.is_none() {
            curve(out, number, "dots", &dots(line, place));
        }
    }
    *out += "</svg>\n";
    for Tick { value, label } in &y.ticks {
        let _ = writeln!(
            out,
            "<span class=\"y\" style=\"top:{:.2}%\">{label}</span>",
            100.0 * (1.0 - y.position(*value))
        );
    }
    for Tick { value, label } in &x.ticks {
        let _ = writeln!(
            out,
            "<span class=\"x\" style=\"left:{:.2}%\">{label}</span>",
            100.0 * x.position(*value)
        );
    }
    *out += "</div>\n<p class=\"x-label\">step</p>\n";
}

fn grid(out: &mut String, x: &Axis, y: &Axis) {
    let mut path = String::new();
    for tick in &y.ticks {
        let _ = write!(path, "M0 {:.1}H1000", 1000.0 * (1.0 - y.position(tick.value)));
    }
    for tick in &x.ticks {
        let _ = write!(path, "M{:.1} 0V1000", 1000.0 * x.position(tick.value));
    }
    let _ = writeln!(out, "<path class=\"grid\" d=\"{path}\"/>\n<path class=\"axis\" d=\"M0 1000H1000\"/>");
}

fn curve(out: &mut String, run: usize, kind: &str, path: &str) {
    if !path.is_empty() {
        let _ = writeln!(out, "<g class=\"{}\"><path class=\"{kind}\" d=\"{path}\"/></g>", class(run));
    }
}

fn path(points: &[(f64, f64)], place: impl Fn(&(f64, f64)) -> (f64, f64)) -> String {
    let mut path = String::new();
    for piece in pieces(points) {
        for (index, (x, y)) in piece.iter().map(&place).enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
    }
    path
}

/// Points of short curves, and those that a gap on either side would hide; lines of no length with round
/// caps stay circles when the SVG is stretched.
fn dots(line: &Line, place: impl Fn(&(f64, f64)) -> (f64, f64)) -> String {
    let all = line.raw.len() <= MOST_DOTS;
    let shown = pieces(&line.raw).filter(|piece| all || piece.len() == 1).flatten();
    shown.map(place).map(|(x, y)| format!("M{x:.1} {y:.1}h0")).collect()
}

/// The style sheet's classes of a run: its colour, and dashes once the colours are used up.
fn class(run: usize) -> String {
    let dashed = if (run / COLOURS) % 2 == 1 { " dashed" } else { "" };
    format!("colour-{}{dashed}", run % COLOURS)
}

/// What a reader who cannot see the chart is told.
fn description(chart: &RunChart, runs: &[RunName]) -> String {
    let mut text = format!("{} {} by step", chart.part, chart.metric);
    for (run, line) in runs.iter().zip(&chart.lines) {
        let first = line.raw.iter().find(|point| !point.1.is_nan());
        if let (Some(&(_, first)), Some(last)) = (first, line.last) {
            let _ = write!(text, "; {} from {} to {}", run.label, readable(first), readable(last));
        }
    }
    text
}
