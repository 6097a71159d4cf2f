//! A line chart of SVG lines and HTML labels.
//!
//! The lines are stretched over the plot, the labels placed by percent, so that text keeps its size on a
//! phone and on paper.

use std::fmt::Write;

use super::axis::{Axis, Tick, around, is_drawable};
use super::curve::pieces;
use super::number::readable;
use super::page::escape;
use super::{Chart, Curve};

/// Curves of up to so many points show each as a dot.
const MOST_DOTS: usize = 24;
/// Colours in the style sheet; later curves have them again, dashed.
const COLOURS: usize = 6;
/// About how many marks an axis has, x and y.
const MARKS: (usize, usize) = (5, 5);

/// The chart as an HTML `figure`.
pub(super) fn html(chart: &Chart) -> String {
    let mut out = format!("<figure class=\"chart\">\n<figcaption>\n<h3>{}</h3>\n", escape(&chart.title));
    legend(&mut out, chart);
    out += "</figcaption>\n";
    let points = chart.curves.iter().flat_map(|curve| curve.raw.iter().copied());
    match around(points, chart.log_y, MARKS) {
        Some((x, y)) => plot(&mut out, chart, &x, &y),
        None => out += "<p class=\"empty\">No values to draw.</p>\n",
    }
    out + "</figure>\n"
}

fn legend(out: &mut String, chart: &Chart) {
    *out += "<ul class=\"legend\">\n";
    for (number, curve) in chart.curves.iter().enumerate() {
        let last = curve.last.map_or("no values".into(), readable);
        let left_out = match (curve.left_out, chart.log_y) {
            (0, _) => String::new(),
            (n, false) => format!(" <small>{n} not finite</small>"),
            (n, true) => format!(" <small>{n} not finite or not positive</small>"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<li class=\"{}\"><svg class=\"key\" viewBox=\"0 0 20 8\" aria-hidden=\"true\"><path d=\"M0 4h20\"/></svg>\
             {} <b>{last}</b>{left_out}</li>",
            class(number),
            escape(&curve.name),
        );
    }
    *out += "</ul>\n";
}

fn plot(out: &mut String, chart: &Chart, x: &Axis, y: &Axis) {
    let label_width = y.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
    let _ = writeln!(out, "<p class=\"y-label\">{}</p>", escape(&y_label(chart)));
    let _ = writeln!(out, "<div class=\"plot\" style=\"margin-left:calc({label_width}ch + .8em)\">");
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escape(&description(chart))
    );
    grid(out, x, y);
    lines(out, chart, x, y);
    *out += "</svg>\n";
    for Tick { value, label } in &y.ticks {
        let top = 100.0 * (1.0 - y.position(*value));
        let _ = writeln!(out, "<span class=\"y\" style=\"top:{top:.2}%\">{label}</span>");
    }
    for Tick { value, label } in &x.ticks {
        let left = 100.0 * x.position(*value);
        let _ = writeln!(out, "<span class=\"x\" style=\"left:{left:.2}%\">{label}</span>");
    }
    let _ = writeln!(out, "</div>\n<p class=\"x-label\">{}</p>", escape(&chart.x_label));
}

/// Quantity and scale.
fn y_label(chart: &Chart) -> String {
    match (chart.y_label.as_str(), chart.log_y) {
        ("", true) => "logarithmic".into(),
        (label, true) => format!("{label}, logarithmic"),
        (label, false) => label.into(),
    }
}

fn grid(out: &mut String, x: &Axis, y: &Axis) {
    *out += "<path class=\"grid\" d=\"";
    for tick in &y.ticks {
        let _ = write!(out, "M0 {:.1}H1000", 1000.0 * (1.0 - y.position(tick.value)));
    }
    for tick in &x.ticks {
        let _ = write!(out, "M{:.1} 0V1000", 1000.0 * x.position(tick.value));
    }
    *out += "\"/>\n<path class=\"axis\" d=\"M0 1000H1000\"/>\n";
}

/// All light lines, and over them all bold ones.
fn lines(out: &mut String, chart: &Chart, x: &Axis, y: &Axis) {
    // In the SVG's 1000 × 1000 units, y downwards.
    let place = |point: &(f64, f64)| (1000.0 * x.position(point.0), 1000.0 * (1.0 - y.position(point.1)));
    let path = |kind: &str, points: &[(f64, f64)]| {
        let mut line = String::new();
        for piece in pieces(points, chart.log_y) {
            for (index, (x, y)) in piece.iter().map(place).enumerate() {
                let _ = write!(line, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
            }
        }
        format!("<path class=\"{kind}\" d=\"{line}\"/>\n")
    };
    for (number, curve) in chart.curves.iter().enumerate().filter(|(_, curve)| curve.smooth.is_some()) {
        group(out, number, curve, &path("raw", &curve.raw));
    }
    for (number, curve) in chart.curves.iter().enumerate() {
        let mut drawn = path("line", curve.main());
        let alone: String = alone(curve, chart.log_y)
            .map(place)
            // Lines of no length with round caps stay circles when the SVG is stretched.
            .map(|(x, y)| format!("M{x:.1} {y:.1}h0"))
            .collect();
        if !alone.is_empty() {
            let _ = writeln!(drawn, "<path class=\"dots\" d=\"{alone}\"/>");
        }
        group(out, number, curve, &drawn);
    }
}

/// Points that show as dots: all of a short curve, and those that a gap on either side would hide.
fn alone(curve: &Curve, log_y: bool) -> impl Iterator<Item = &(f64, f64)> {
    let raw = if curve.smooth.is_none() { curve.raw.as_slice() } else { &[] };
    pieces(raw, log_y).filter(move |piece| raw.len() <= MOST_DOTS || piece.len() == 1).flatten()
}

/// Paths of a curve in its colour, with its name as their tooltip.
fn group(out: &mut String, number: usize, curve: &Curve, paths: &str) {
    let _ = writeln!(out, "<g class=\"{}\"><title>{}</title>", class(number), escape(&curve.name));
    *out += paths;
    *out += "</g>\n";
}

/// The style sheet's classes of a curve: its colour, and dashes once the colours are used up.
fn class(number: usize) -> String {
    let dashed = if (number / COLOURS) % 2 == 1 { " dashed" } else { "" };
    format!("colour-{}{dashed}", number % COLOURS)
}

/// What a reader who cannot see the chart is told.
fn description(chart: &Chart) -> String {
    let quantity = if chart.y_label.is_empty() { String::new() } else { format!(": {}", chart.y_label) };
    let mut text = format!("{}{quantity} by {}", chart.title, chart.x_label);
    for curve in &chart.curves {
        let first = curve.raw.iter().find(|&&point| is_drawable(point, chart.log_y));
        if let (Some(&(_, first)), Some(last)) = (first, curve.last) {
            let _ = write!(text, "; {} from {} to {}", curve.name, readable(first), readable(last));
        }
    }
    text
}
