//! A chart for the terminal: curves in braille dots or, where there are no colours to tell several runs
//! apart, in letters.

use std::fmt::Write;

use super::RunName;
use super::plot::{Line, Plot, RunChart};
use super::text::printable;
use crate::report::axis::{Axis, Tick, around};
use crate::report::curve::pieces;
use crate::report::number::readable;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Characters in a line.
    pub width: usize,
    /// Lines of the plot itself, without axis and legend.
    pub height: usize,
    /// Whether ANSI colours are understood.
    pub colour: bool,
}

/// Of the 256 colours of terminals, six that colour-blind people can tell apart, on black and on white.
const COLOURS: [u8; 6] = [63, 166, 41, 133, 184, 244];
/// One for each run, without colours.
const SYMBOLS: [char; 8] = ['o', 'x', '+', '*', '#', '@', '%', '&'];
/// Dots of a braille character, across and down, and the bit of each (Unicode 15, chapter 21.1).
const DOTS: (usize, usize) = (2, 4);
const DOT_BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const LEAST_WIDTH: usize = 30;
const LEAST_HEIGHT: usize = 4;

/// All charts of a plot, one under the other.
pub fn draw_all(plot: &Plot, canvas: Canvas) -> String {
    let charts: Vec<String> = plot.charts.iter().map(|chart| draw(chart, &plot.runs, canvas)).collect();
    charts.join("\n")
}

/// One chart: title, curves, axes and legend. Curves are smoothed where the chart has an average.
pub fn draw(chart: &RunChart, runs: &[RunName], canvas: Canvas) -> String {
    let scale = if chart.log_y { " (logarithmic)" } else { "" };
    let smoothed = if chart.lines.iter().any(|line| line.smooth.is_some()) { ", smoothed" } else { "" };
    let mut out = format!("{} · {}{scale}{smoothed}\n", chart.part, printable(&chart.metric));
    let points = chart.lines.iter().flat_map(|line| line.main().iter().copied());
    let marks = ((canvas.width / 14).clamp(2, 8), (canvas.height / 3).clamp(2, 6));
    match around(points, chart.log_y, marks) {
        Some((x, y)) => plot_area(&mut out, chart, &x, &y, canvas),
        None => out += "  no values to draw\n",
    }
    legend(&mut out, chart, runs, canvas);
    out
}

fn plot_area(out: &mut String, chart: &RunChart, x: &Axis, y: &Axis, canvas: Canvas) {
    let label_width = y.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
    let columns = canvas.width.max(LEAST_WIDTH).saturating_sub(label_width + 3);
    let rows = canvas.height.max(LEAST_HEIGHT);
    let in_letters = !canvas.colour && chart.lines.len() > 1;
    let mut raster = Raster::new(columns, rows, if in_letters { (1, 1) } else { DOTS });
    for (run, line) in chart.lines.iter().enumerate() {
        raster.line(run, line, chart.log_y, x, y);
    }
    for row in 0..rows {
        let here = |tick: &&Tick| ((1.0 - y.position(tick.value)) * (rows - 1) as f64).round() == row as f64;
        let label = y.ticks.iter().find(here).map_or("", |tick| tick.label.as_str());
        let axis = if label.is_empty() { '│' } else { '┤' };
        let cells: String =
            (0..columns).map(|column| raster.cell(column, row, in_letters, canvas.colour)).collect();
        let _ = writeln!(out, "{label:>label_width$} {axis}{}", cells.trim_end());
    }
    x_axis(out, x, columns, label_width);
}

/// The line under the plot, and its labels; a label without room is left out.
fn x_axis(out: &mut String, x: &Axis, columns: usize, label_width: usize) {
    let mut line = vec!['─'; columns];
    let mut labels = vec![' '; columns];
    let mut free = 0;
    let name: Vec<char> = " step".chars().collect();
    let end = columns.saturating_sub(name.len());
    for Tick { value, label } in &x.ticks {
        let column = (x.position(*value) * (columns - 1) as f64).round() as usize;
        let text: Vec<char> = label.chars().collect();
        let start = column.saturating_sub(text.len() / 2);
        if start < free || start + text.len() > end {
            continue;
        }
        line[column.min(columns - 1)] = '┬';
        labels[start..start + text.len()].copy_from_slice(&text);
        free = start + text.len() + 1;
    }
    labels[end..].copy_from_slice(&name[..columns - end]);
    let _ = writeln!(out, "{:label_width$} └{}", "", line.iter().collect::<String>());
    let _ = writeln!(out, "{:label_width$}  {}", "", labels.iter().collect::<String>().trim_end());
}

fn legend(out: &mut String, chart: &RunChart, runs: &[RunName], canvas: Canvas) {
    let several = runs.len() > 1;
    for (number, (run, line)) in runs.iter().zip(&chart.lines).enumerate() {
        let key = match (canvas.colour, several) {
            (true, _) => coloured(number, "━━"),
            (false, true) => SYMBOLS[number % SYMBOLS.len()].to_string(),
            (false, false) => "⠒⠒".into(),
        };
        let last = line.last.map_or("no values".into(), readable);
        let _ = write!(out, "  {key} {}  {last}", printable(&run.label));
        if line.not_finite > 0 {
            let _ = write!(out, "  ({} not finite)", line.not_finite);
        }
        out.push('\n');
    }
}

fn coloured(run: usize, text: &str) -> String {
    format!("\x1b[38;5;{}m{text}\x1b[0m", COLOURS[run % COLOURS.len()])
}

/// Dots in cells; a cell has the colour of the run that drew there last.
struct Raster {
    columns: usize,
    rows: usize,
    /// Dots in a cell, across and down.
    dots: (usize, usize),
    cells: Vec<Option<(usize, u8)>>,
}

impl Raster {
    fn new(columns: usize, rows: usize, dots: (usize, usize)) -> Self {
        Self { columns, rows, dots, cells: vec![None; columns * rows] }
    }

    fn line(&mut self, run: usize, line: &Line, log_y: bool, x: &Axis, y: &Axis) {
        let across = (self.columns * self.dots.0 - 1) as f64;
        let down = (self.rows * self.dots.1 - 1) as f64;
        let place = |point: &(f64, f64)| (x.position(point.0) * across, (1.0 - y.position(point.1)) * down);
        for piece in pieces(line.main(), log_y) {
            let mut from = place(&piece[0]);
            self.dot(run, from);
            for to in piece[1..].iter().map(place) {
                let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
                for step in 1..=steps as usize {
                    let t = step as f64 / steps;
                    self.dot(run, (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1)));
                }
                from = to;
            }
        }
    }

    fn dot(&mut self, run: usize, at: (f64, f64)) {
        // Floats become integers saturating: what lies outside lands on the edge.
        let x = (at.0.round() as usize).min(self.columns * self.dots.0 - 1);
        let y = (at.1.round() as usize).min(self.rows * self.dots.1 - 1);
        let cell = &mut self.cells[y / self.dots.1 * self.columns + x / self.dots.0];
        let bits = DOT_BITS[x % self.dots.0][y % self.dots.1];
        *cell = Some((run, cell.map_or(0, |(_, earlier)| earlier) | bits));
    }

    fn cell(&self, column: usize, row: usize, in_letters: bool, colour: bool) -> String {
        let Some((run, bits)) = self.cells[row * self.columns + column] else { return " ".into() };
        if in_letters {
            return SYMBOLS[run % SYMBOLS.len()].into();
        }
        let braille = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ').to_string();
        if colour { coloured(run, &braille) } else { braille }
    }
}
