//! Operands in the order in which tiles read them, rounded to pairs of bf16 numbers.

use std::ops::Range;

use super::rounding::{Row, by_rounding};
use super::tile::{PANEL, ROWS, STEP, TILE};

/// Numbers in one step of the inner dimension.
pub(crate) const NUMBERS: usize = 2 * STEP;

/// No row: zeros.
pub(crate) const OUTSIDE: u32 = u32::MAX;

/// Row `row` of tile `tile`.
#[inline(always)]
pub(crate) fn row_of(tiles: &mut [f32], tile: usize, row: usize) -> &mut Row {
    let first = tile * TILE + row * STEP;
    (&mut tiles[first..first + STEP]).try_into().expect("as long as a row")
}

by_rounding! {
    /// A in tiles, from its rows of `depth` numbers, `stride` apart in `x`: `rows` of them, of which `steps` are asked for.
    /// `to`: `[groups of 16 rows][steps]`, zeros after the last number of a row; rows that a last group lacks stay as
    /// they were.
    pub(crate) fn from_rows<R>(
        x: &[f32],
        stride: usize,
        depth: usize,
        rows: Range<usize>,
        steps: Range<usize>,
        to: &mut [f32],
    ) {
        for (row, from) in rows.enumerate() {
            let numbers = &x[from * stride..][..depth];
            for (i, step) in steps.clone().enumerate() {
                let mine = &numbers[depth.min(step * NUMBERS)..depth.min((step + 1) * NUMBERS)];
                // SAFETY: the caller's promise.
                unsafe { R::along(mine, row_of(to, row / ROWS * steps.len() + i, row % ROWS)) };
            }
        }
    }
}

by_rounding! {
    /// A in tiles, from its columns: rows 16·`group` and so on of A are those columns of `x`, `[inner dimension, width]`.
    /// `to`: the tiles of a group, one for each of `steps`.
    pub(crate) fn from_columns<R>(x: &[f32], width: usize, group: usize, steps: Range<usize>, to: &mut [f32]) {
        let columns = group * ROWS..width.min((group + 1) * ROWS);
        let nothing = [0.0; ROWS];
        let row = |k: usize| x.get(k * width + columns.start..k * width + columns.end).unwrap_or(&nothing[..columns.len()]);
        for (i, step) in steps.enumerate() {
            let mut pairs = [[0.0; STEP]; STEP];
            for (k, pairs) in pairs.iter_mut().enumerate() {
                let k = step * NUMBERS + 2 * k;
                // SAFETY: the caller's promise.
                unsafe { R::across(row(k), row(k + 1), pairs) };
            }
            let (tile, _) = to[i * TILE..][..TILE].as_chunks_mut::<STEP>();
            // SAFETY: the caller's promise.
            unsafe { R::transpose(&pairs, tile.try_into().expect("a tile")) };
        }
    }
}

by_rounding! {
    /// A panel of B from rows of `x`, `width` numbers each: row k of B is row `sources[k]`, or zeros for [`OUTSIDE`]
    /// and after the last. `columns` are at most [`PANEL`]; others become zeros. `to`: a row of pairs for each two rows.
    pub(crate) fn panel<R>(x: &[f32], width: usize, columns: Range<usize>, sources: &[u32], to: &mut [f32]) {
        let nothing = [0.0; PANEL];
        let row = |k: usize| match sources.get(k) {
            None | Some(&OUTSIDE) => &nothing[..columns.len()],
            Some(&row) => &x[row as usize * width..][columns.clone()],
        };
        for (k, to) in to.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            let (first, second) = (row(2 * k), row(2 * k + 1));
            let middle = first.len().min(STEP);
            let (low, high) = to.split_at_mut(STEP);
            // SAFETY: the caller's promise.
            unsafe {
                R::across(&first[..middle], &second[..middle], low.try_into().expect("half a panel"));
                R::across(&first[middle..], &second[middle..], high.try_into().expect("half a panel"));
            }
        }
    }
}
