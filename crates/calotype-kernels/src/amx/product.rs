//! C = A·B + bias, cut into pieces for threads and caches. B is packed; A becomes tiles a few rows at a time, just before
//! they are multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{self, Operands, Output};
use super::tile::{PANEL, ROWS, STEP, TILE, Tiles};
use super::with_tiles;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::Start;

/// Tiles of A that are multiplied together: 1 MiB, half of a second level cache.
const TILES: usize = 1024;
/// Groups of 16 rows that are multiplied together where B stays in the second level cache: A comes from memory once then,
/// and C goes there row by row.
const FEW: usize = 4;
/// Steps of the inner dimension after which sums go to C and come back. More of them leave room for fewer rows, for each
/// of which a large B comes from memory.
const LONGEST: usize = 64;

/// Everything about a product but A and the place of C.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    /// Of A and C.
    pub rows: usize,
    /// Pairs of the inner dimension, at least 1.
    pub depth: usize,
    /// Of B and C.
    pub columns: usize,
    /// In panels, as [`crate::panels::pack_rows`] and its like make them of pairs.
    pub b: &'a [f32],
    /// Added to every row; as long as the columns up to a whole number of tiles.
    pub bias: Option<&'a [f32]>,
}

/// Writes rows of A as tiles, `[groups of 16 rows][steps]`.
pub(crate) trait Rows: Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync {}

impl<F: Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync> Rows for F {}

impl Product<'_> {
    fn steps(&self) -> usize {
        self.depth.div_ceil(STEP)
    }

    /// Numbers of a panel of B.
    fn panel(&self) -> usize {
        self.steps() * STEP * PANEL
    }

    /// Steps of one stretch of the inner dimension. It depends on nothing else, so that sums do not either.
    fn stretch(&self) -> usize {
        self.steps().div_ceil(self.steps().div_ceil(LONGEST))
    }

    /// Groups of rows that are multiplied together with so many panels of B.
    fn at_once(&self, panels: usize) -> usize {
        let steps = self.stretch();
        // A panel of B is two tiles for each step.
        if 2 * panels * steps <= TILES { FEW } else { (TILES / steps).max(FEW) / 2 * 2 }
    }

    /// Row i of C begins at `place(i)`. On all threads.
    pub fn run(&self, isa: Isa, a: impl Rows, place: impl Fn(usize) -> usize + Sync, c: &mut [f32]) {
        let (groups, panels) = (self.rows.div_ceil(ROWS), self.columns.div_ceil(PANEL));
        if groups == 0 || panels == 0 {
            return;
        }
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        // Pieces of rows, and of columns where those are too few.
        let at_once = self.at_once(panels);
        let most = groups.div_ceil(at_once);
        let in_rows = if at_once == FEW { most.min(wanted) } else { most };
        let rows_each = groups.div_ceil(in_rows).next_multiple_of(2);
        let in_rows = groups.div_ceil(rows_each);
        let columns_each = panels.div_ceil(wanted.div_ceil(in_rows).min(panels));
        let in_columns = panels.div_ceil(columns_each);
        let c = Output::new(c);
        (0..in_rows * in_columns).into_par_iter().for_each(|piece| {
            let part = |i: usize, each: usize, all: usize| i * each..all.min((i + 1) * each);
            let groups = part(piece / in_columns, rows_each, groups);
            let panels = part(piece % in_columns, columns_each, panels);
            // SAFETY: `isa` is there; each piece has rows and columns of C that no other has.
            with_tiles!(isa, T => unsafe { self.part::<T>(groups, panels, &a, &place, c) });
        });
    }

    /// The same on this thread alone, for who shares the work out himself.
    pub fn run_here(&self, isa: Isa, a: impl Rows, place: impl Fn(usize) -> usize, c: &mut [f32]) {
        let (groups, panels) = (0..self.rows.div_ceil(ROWS), 0..self.columns.div_ceil(PANEL));
        // SAFETY: `isa` is there; nobody else sees C.
        with_tiles!(isa, T => unsafe { self.part::<T>(groups, panels, &a, &place, Output::new(c)) });
    }

    /// # Safety
    /// As [`blocks::run`], of these groups and panels.
    unsafe fn part<T: Tiles>(
        &self,
        groups: Range<usize>,
        panels: Range<usize>,
        a: &impl Rows,
        place: &impl Fn(usize) -> usize,
        c: Output,
    ) {
        let (stretch, at_once) = (self.stretch(), self.at_once(panels.len()).min(groups.len()));
        let first = panels.start * PANEL;
        let columns = self.columns.min(panels.end * PANEL) - first;
        let mut tiles = Buffer::aligned(at_once * stretch * TILE);
        for group in groups.clone().step_by(at_once) {
            let mine = group * ROWS..self.rows.min(groups.end.min(group + at_once) * ROWS);
            let places: Vec<usize> = mine.clone().map(|row| place(row) + first).collect();
            for step in (0..self.steps()).step_by(stretch) {
                let steps = step..self.steps().min(step + stretch);
                a(mine.clone(), steps.clone(), &mut tiles);
                let operands = Operands {
                    a: &tiles,
                    b: &self.b[panels.start * self.panel() + step * STEP * PANEL..],
                    panel: self.panel(),
                    steps: steps.len(),
                };
                let start = match self.bias {
                    _ if step > 0 => Start::Accumulate,
                    Some(bias) => Start::Bias(&bias[first..]),
                    None => Start::Zero,
                };
                // SAFETY: the caller's promise.
                unsafe { blocks::run::<T>(&operands, start, &places, columns, c) };
            }
        }
    }
}
