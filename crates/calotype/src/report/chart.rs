//! A line chart: the lines are SVG stretched over the plot, the labels are HTML placed by percent, so
//! that text keeps its size on a phone and on paper.

use std::fmt::Write;

use super::axis::{Axis, Tick};
use super::curve::Curve;
use super::number::readable;
use super::page::escape;
use super::{Chart, Series};

/// Series up to this many points show each as a dot.
const MOST_DOTS: usize = 24;
/// Colours in the style sheet; later series reuse them, dashed.
const COLOURS: usize = 6;

/// The chart as an HTML `figure`.
pub(super) fn html(chart: &Chart) -> String {
    let curves: Vec<Curve> = chart.series.iter().map(|s| Curve::new(&s.points, chart.log_y)).collect();
    let smoothed = curves.iter().any(|curve| curve.smooth.is_some());
    let mut out = format!("<figure class=\"chart\">\n<figcaption>\n<h3>{}</h3>\n", escape(&chart.title));
    legend(&mut out, chart, &curves);
    out += "</figcaption>\n";
    match axes(&curves, chart.log_y) {
        Some((x, y)) => plot(&mut out, chart, &curves, &x, &y),
        None => out += "<p class=\"empty\">No values to draw.</p>\n",
    }
    if smoothed {
        out += "<p class=\"note\">Light: every value. Bold: moving average.</p>\n";
    }
    out + "</figure>\n"
}

/// The axes around everything drawn; none if there is nothing.
fn axes(curves: &[Curve], log_y: bool) -> Option<(Axis, Axis)> {
    let points = || curves.iter().flat_map(|curve| &curve.raw);
    let (x_min, x_max) = extent(points().map(|p| p.0))?;
    let (y_min, y_max) = extent(points().map(|p| p.1))?;
    let whole = points().all(|p| p.0.fract() == 0.0);
    let x = Axis::exact(x_min, x_max, 5, whole);
    let y = if log_y { Axis::logarithmic(y_min, y_max, 5) } else { Axis::rounded(y_min, y_max, 5) };
    Some((x, y))
}

fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((min, max)) => Some((v.min(min), v.max(max))),
    })
}

fn legend(out: &mut String, chart: &Chart, curves: &[Curve]) {
    *out += "<ul class=\"legend\">\n";
    for (number, (series, curve)) in chart.series.iter().zip(curves).enumerate() {
        let last = curve.last().map_or("no values".into(), readable);
        let left_out = match (curve.left_out, chart.log_y) {
            (0, _) => String::new(),
            (n, false) => format!(" <small>{n} not finite</small>"),
            (n, true) => format!(" <small>{n} not finite or not positive</small>"),
        };
        let _ = writeln!(
            out,
            "<li class=\"{}\"><svg class=\"key\" viewBox=\"0 0 20 8\" aria-hidden=\"true\"><path d=\"M0 4h20\"/></svg>\
             {} <b>{last}</b>{left_out}</li>",
            style(number),
            escape(&series.name),
        );
    }
    *out += "</ul>\n";
}

fn plot(out: &mut String, chart: &Chart, curves: &[Curve], x: &Axis, y: &Axis) {
    let label_width = y.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<p class=\"y-label\">{}</p>", escape(&chart.y_label));
    let _ = writeln!(out, "<div class=\"plot\" style=\"margin-left:calc({label_width}ch + .8em)\">");
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escape(&description(chart, curves))
    );
    grid(out, x, y);
    for (number, (series, curve)) in chart.series.iter().zip(curves).enumerate() {
        lines(out, series, curve, number, |point| place(point, x, y));
    }
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

/// Where a point lies in the SVG's 1000 × 1000 units, y downwards.
fn place(point: (f64, f64), x: &Axis, y: &Axis) -> (f64, f64) {
    (1000.0 * x.position(point.0), 1000.0 * (1.0 - y.position(point.1)))
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

fn lines(
    out: &mut String,
    series: &Series,
    curve: &Curve,
    number: usize,
    place: impl Fn((f64, f64)) -> (f64, f64),
) {
    let _ = writeln!(out, "<g class=\"{}\"><title>{}</title>", style(number), escape(&series.name));
    let raw_class = if curve.smooth.is_some() { "raw" } else { "line" };
    let smooth = curve.smooth.iter().map(|points| ("line", points));
    for (class, points) in std::iter::once((raw_class, &curve.raw)).chain(smooth) {
        let _ = write!(out, "<path class=\"{class}\" d=\"");
        for (index, (x, y)) in points.iter().map(|&p| place(p)).enumerate() {
            let _ = write!(out, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        *out += "\"/>\n";
    }
    if curve.raw.len() <= MOST_DOTS {
        // Lines of no length with round caps stay circles when the SVG is stretched.
        *out += "<path class=\"dots\" d=\"";
        for (x, y) in curve.raw.iter().map(|&p| place(p)) {
            let _ = write!(out, "M{x:.1} {y:.1}h0");
        }
        *out += "\"/>\n";
    }
    *out += "</g>\n";
}

/// The style sheet's classes of series `number`: its colour, and dashes once the colours are used up.
fn style(number: usize) -> String {
    let dashed = if (number / COLOURS) % 2 == 1 { " dashed" } else { "" };
    format!("colour-{}{dashed}", number % COLOURS)
}

/// What a reader who cannot see the chart is told.
fn description(chart: &Chart, curves: &[Curve]) -> String {
    let mut text = format!("{}: {} by {}", chart.title, chart.y_label, chart.x_label);
    for (series, curve) in chart.series.iter().zip(curves) {
        if let (Some(&(_, first)), Some(last)) = (curve.raw.first(), curve.last()) {
            let _ = write!(text, "; {} from {} to {}", series.name, readable(first), readable(last));
        }
    }
    text
}
