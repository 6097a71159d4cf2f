//! C = Aᵀ·B over a long inner dimension, the gradient of weights: A becomes tiles once, and panels of B become pairs
//! where they are multiplied.
//!
//! Threads share C, never the inner dimension.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{self, Operands, Output};
use super::operands::{NUMBERS, from_columns};
use super::tile::{PANEL, ROWS, STEP, TILE, Tiles};
use super::with_tiles;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::Start;

/// Steps of the inner dimension after which sums go to C and come back.
const STRETCH: usize = 32;
/// Panels of B that are multiplied together: 512 KiB for a stretch, beside which A passes by once.
const PANELS: usize = 8;

/// A panel of C: at most [`PANEL`] columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    /// Where row 0 begins in C.
    pub first: usize,
    /// How many.
    pub columns: usize,
}

/// All of C, panels of `width` rows, `row` apart, from A `[inner dimension, width]`. `fill(panel, rows, to)` writes rows of
/// B's panel as pairs; rows after the last of the inner dimension as zeros.
pub(crate) fn run(
    isa: Isa,
    (a, width): (&[f32], usize),
    panels: &[Panel],
    fill: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    row: usize,
    c: &mut [f32],
) {
    if a.is_empty() {
        return c.fill(0.0);
    }
    let steps = (a.len() / width).div_ceil(NUMBERS);
    let groups = width.div_ceil(ROWS);
    // `[stretches][groups][steps]`.
    let mut tiles = Buffer::aligned(groups * steps * TILE);
    tiles.par_chunks_mut(STRETCH * groups * TILE).enumerate().for_each(|(i, to)| {
        let first = i * STRETCH;
        let mine = first..steps.min(first + STRETCH);
        to.par_chunks_mut(mine.len() * TILE).enumerate().for_each(|(group, to)| {
            from_columns(isa, a, width, group, mine.clone(), to);
        });
    });
    let share = panels.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, PANELS);
    let c = Output::new(c);
    panels.par_chunks(share).enumerate().for_each(|(i, panels)| {
        let fill = |panel: usize, rows: Range<usize>, to: &mut [f32]| fill(i * share + panel, rows, to);
        // SAFETY: `isa` is there; no two panels have numbers of C in common.
        with_tiles!(isa, T => unsafe { share_of::<T>((&tiles, width), panels, &fill, row, c) });
    });
}

/// # Safety
/// As [`blocks::run`], of these panels.
unsafe fn share_of<T: Tiles>(
    (tiles, width): (&[f32], usize),
    panels: &[Panel],
    fill: &impl Fn(usize, Range<usize>, &mut [f32]),
    row: usize,
    c: Output,
) {
    let groups = width.div_ceil(ROWS);
    let mut b = Buffer::aligned(panels.len() * STRETCH * STEP * PANEL);
    // Where the rows of each panel begin in C.
    let places: Vec<Vec<usize>> =
        panels.iter().map(|panel| (0..width).map(|i| panel.first + i * row).collect()).collect();
    for (i, a) in tiles.chunks(STRETCH * groups * TILE).enumerate() {
        let steps = a.len() / (groups * TILE);
        let first = i * STRETCH;
        let parts = b.chunks_exact_mut(steps * STEP * PANEL).take(panels.len());
        parts.enumerate().for_each(|(panel, to)| fill(panel, first * NUMBERS..(first + steps) * NUMBERS, to));
        for ((b, panel), rows) in b.chunks_exact(steps * STEP * PANEL).zip(panels).zip(&places) {
            let operands = Operands { a, b, panel: b.len(), steps };
            let start = if i == 0 { Start::Zero } else { Start::Accumulate };
            // SAFETY: the caller's promise.
            unsafe { blocks::run::<T>(&operands, start, rows, panel.columns, c) };
        }
    }
}
