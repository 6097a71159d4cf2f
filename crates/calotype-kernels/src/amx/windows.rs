//! A of a convolution: what the windows of pictures see, straight into tiles.
//!
//! A row is one window, place after place, all channels of each. No picture is padded, and none of its windows is in
//! memory but those that are being multiplied.

use std::ops::Range;

use super::operands::row_of;
use super::product::Product;
use super::tile::{ROWS, STEP};
use crate::isa::{Isa, by_isa};

/// Neighbours in a row of pixels that a window sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// From the window's pixel: rows down, columns to the right.
    pub down: isize,
    /// The first of them.
    pub right: isize,
    /// How many.
    pub count: usize,
}

/// Pictures, and the windows over them.
#[derive(Debug, Clone)]
pub(crate) struct Windows<'a> {
    /// `[pictures, height, width, channels]`, pairs of channels.
    pub pictures: &'a [f32],
    /// Of a picture.
    pub height: usize,
    /// Of a picture.
    pub width: usize,
    /// Pairs of a pixel.
    pub channels: usize,
    /// Rows and columns of windows over a picture.
    pub grid: [usize; 2],
    /// Pixels from window to window.
    pub stride: usize,
    /// What a window sees, in the order of B's rows. What lies outside of the picture is zero.
    pub runs: Vec<Run>,
}

impl Windows<'_> {
    /// Pairs in a window.
    pub fn depth(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum::<usize>() * self.channels
    }

    /// C = windows · `b` + `bias`, where the row of window i (picture by picture, row by row) begins at `place(i)`.
    pub fn multiply(
        &self,
        isa: Isa,
        b: &[f32],
        bias: Option<&[f32]>,
        columns: usize,
        place: impl Fn(usize) -> usize + Sync,
        c: &mut [f32],
    ) {
        let pictures = self.pictures.len() / (self.height * self.width * self.channels);
        let product =
            Product { rows: pictures * self.grid[0] * self.grid[1], depth: self.depth(), columns, b, bias };
        product.run(isa, |rows, steps, to: &mut [f32]| tiles(isa, self, rows, steps, to), place, c);
    }

    /// The pixels of a run that lie inside of the picture (numbers of their pairs), and how many lie before them.
    #[inline(always)]
    fn inside(&self, picture: usize, [y, x]: [usize; 2], run: Run) -> (usize, &[f32]) {
        let row = (y * self.stride) as isize + run.down;
        let first = (x * self.stride) as isize + run.right;
        let (begin, end) = (first.max(0), (first + run.count as isize).min(self.width as isize));
        if row < 0 || row >= self.height as isize || begin >= end {
            return (0, &[]);
        }
        let at = ((picture * self.height + row as usize) * self.width + begin as usize) * self.channels;
        let length = (end - begin) as usize * self.channels;
        ((begin - first) as usize * self.channels, &self.pictures[at..at + length])
    }
}

/// One row of some tiles.
struct Line<'a> {
    to: &'a mut [f32],
    first_tile: usize,
    row: usize,
    /// The pairs of the inner dimension that the tiles hold.
    window: Range<usize>,
}

impl Line<'_> {
    /// The tile rows from pair `at` on that belong to `length` pairs: calls `write(offset in them, part of a row)`.
    #[inline(always)]
    fn each(&mut self, at: usize, length: usize, mut write: impl FnMut(usize, &mut [f32])) {
        let (begin, end) = (at.max(self.window.start), (at + length).min(self.window.end));
        let mut next = begin;
        while next < end {
            let place = next - self.window.start;
            let count = (STEP - place % STEP).min(end - next);
            let row = row_of(self.to, self.first_tile + place / STEP, self.row);
            write(next - at, &mut row[place % STEP..][..count]);
            next += count;
        }
    }

    #[inline(always)]
    fn copy(&mut self, at: usize, pairs: &[f32]) {
        self.each(at, pairs.len(), |from, to| match <&mut [f32; STEP]>::try_from(&mut *to) {
            // Of known length: one vector.
            Ok(whole) => whole.copy_from_slice(&pairs[from..from + STEP]),
            Err(_) => to.copy_from_slice(&pairs[from..from + to.len()]),
        });
    }

    #[inline(always)]
    fn zero(&mut self, at: usize, length: usize) {
        self.each(at, length, |_, to| to.fill(0.0));
    }
}

by_isa! {
    /// Windows `rows` as tiles of `steps`, as [`super::product::Rows`] wants them.
    fn tiles(windows: &Windows, rows: Range<usize>, steps: Range<usize>, to: &mut [f32]) {
        let [height, width] = windows.grid;
        let depth = windows.depth();
        for (i, window) in rows.enumerate() {
            let (picture, y, x) = (window / (height * width), window / width % height, window % width);
            let mut line = Line {
                to: &mut *to,
                first_tile: i / ROWS * steps.len(),
                row: i % ROWS,
                window: steps.start * STEP..steps.end * STEP,
            };
            let mut at = 0;
            for &run in &windows.runs {
                let (before, pairs) = windows.inside(picture, [y, x], run);
                let length = run.count * windows.channels;
                line.zero(at, before);
                line.copy(at + before, pairs);
                line.zero(at + before + pairs.len(), length - before - pairs.len());
                at += length;
            }
            line.zero(depth, depth.next_multiple_of(STEP) - depth);
        }
    }
}
