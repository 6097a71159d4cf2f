//! All blocks of a product whose operands are ready.

use super::tile::{Block, PANEL, ROWS, STEP, TILE, Tiles};
use crate::product::Start;

/// C, which threads write different numbers of.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    numbers: *mut f32,
    length: usize,
    lives: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: it is the address of numbers that may be written from any thread; [`run`] wants its callers to write
// different ones.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Nobody else sees `c` while this lives.
    pub fn new(c: &'a mut [f32]) -> Self {
        Self { numbers: c.as_mut_ptr(), length: c.len(), lives: std::marker::PhantomData }
    }
}

/// The operands of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// A in tiles: groups of 16 rows one after the other, [`TILE`] pairs for each step. Rows of the last group that are
    /// too many hold anything.
    pub a: &'a [f32],
    /// B's panels: the first begins here, each has [`STEP`]·[`PANEL`] pairs for each step.
    pub b: &'a [f32],
    /// From panel to panel.
    pub panel: usize,
    /// Length of the inner dimension in steps, at least 1.
    pub steps: usize,
}

/// C[i, j] = start + A·B for `columns` columns, whose row i begins at `rows[i]`. A bias holds the columns up to a whole
/// number of tiles.
///
/// # Safety
/// `T` is there ([`Tiles::configure`]), and no other thread reads or writes these columns of these rows.
pub(crate) unsafe fn run<T: Tiles>(o: &Operands, start: Start, rows: &[usize], columns: usize, c: Output) {
    if rows.is_empty() || columns == 0 {
        return;
    }
    check(o, start, rows, columns, c);
    // SAFETY: the caller's promise. It is dropped at the end; nothing below waits for another thread.
    let _configured = unsafe { T::configure() };
    let mut scratch = Scratch([0.0; 2 * ROWS * PANEL]);
    for (panel, first) in (0..columns).step_by(PANEL).enumerate() {
        let columns = PANEL.min(columns - first);
        for (i, pair) in rows.chunks(2 * ROWS).enumerate() {
            let groups = pair.len().div_ceil(ROWS);
            let a = o.a[2 * i * o.steps * TILE..].as_ptr();
            let mut block = Block {
                a: [a, if groups == 2 { a.wrapping_add(o.steps * TILE) } else { a }],
                b: o.b[panel * o.panel..].as_ptr(),
                steps: o.steps,
                init: [std::ptr::null(); 2],
                init_row: 0,
                c: [std::ptr::null_mut(); 2],
                c_row: 4 * PANEL,
            };
            if let Start::Bias(bias) = start {
                block.init = [bias[first..].as_ptr(); 2];
            }
            let accumulate = matches!(start, Start::Accumulate);
            let whole = columns == PANEL && pair.len().is_multiple_of(ROWS);
            let in_place = if whole { distance(pair) } else { None };
            // SAFETY: `check` has seen that A, B, the bias and C have what the block names; the caller promises the rest.
            unsafe {
                if let Some(row) = in_place {
                    let group = |i: usize| c.numbers.add(pair[i * ROWS] + first);
                    (block.c, block.c_row) = ([group(0), group(groups - 1)], 4 * row);
                    T::prefetch(&block, groups);
                } else {
                    if accumulate {
                        scratch.fetch(c, pair, first, columns);
                    }
                    block.c = scratch.groups();
                }
                if accumulate {
                    (block.init, block.init_row) = (block.c.map(<*mut f32>::cast_const), block.c_row);
                }
                T::multiply(&block, groups, columns.div_ceil(ROWS));
                if in_place.is_none() {
                    scratch.store(c, pair, first, columns);
                }
            }
        }
    }
}

/// Every number that a block will touch lies inside its slice; a mistake of a caller ends here.
fn check(o: &Operands, start: Start, rows: &[usize], columns: usize, c: Output) {
    assert!(o.steps > 0, "an inner dimension of nothing");
    let (groups, panels) = (rows.len().div_ceil(ROWS), columns.div_ceil(PANEL));
    assert!(groups * o.steps * TILE <= o.a.len(), "A ends too early");
    assert!((panels - 1) * o.panel + o.steps * STEP * PANEL <= o.b.len(), "B ends too early");
    let last = rows.iter().max().map_or(0, |last| last + columns);
    assert!(last <= c.length, "C ends too early");
    if let Start::Bias(bias) = start {
        assert!(columns.next_multiple_of(ROWS) <= bias.len(), "the bias ends too early");
    }
}

/// From row to row, where it is the same for all of one or two groups.
fn distance(rows: &[usize]) -> Option<usize> {
    let row = rows[1].checked_sub(rows[0])?;
    let even = |group: &[usize]| group.windows(2).all(|pair| pair[0] + row == pair[1]);
    rows.chunks(ROWS).all(even).then_some(row)
}

/// A block of C that is smaller than its tiles, or lies scattered: one line of the cache a row of a tile.
#[repr(align(64))]
struct Scratch([f32; 2 * ROWS * PANEL]);

impl Scratch {
    fn groups(&mut self) -> [*mut f32; 2] {
        let first = self.0.as_mut_ptr();
        [first, first.wrapping_add(ROWS * PANEL)]
    }

    /// # Safety
    /// As [`run`], of the columns from `first`.
    unsafe fn fetch(&mut self, c: Output, rows: &[usize], first: usize, columns: usize) {
        for (to, row) in self.0.chunks_exact_mut(PANEL).zip(rows) {
            // SAFETY: the caller's promise.
            let from = unsafe { std::slice::from_raw_parts(c.numbers.add(row + first), columns) };
            to[..columns].copy_from_slice(from);
        }
    }

    /// # Safety
    /// As [`run`], of the columns from `first`.
    unsafe fn store(&self, c: Output, rows: &[usize], first: usize, columns: usize) {
        for (from, row) in self.0.chunks_exact(PANEL).zip(rows) {
            // SAFETY: the caller's promise.
            let to = unsafe { std::slice::from_raw_parts_mut(c.numbers.add(row + first), columns) };
            to.copy_from_slice(&from[..columns]);
        }
    }
}
