//! B of a product as `product` reads it: in panels of columns that lie row after row.

use std::ops::Range;

use rayon::prelude::*;

use crate::isa::Isa;
use crate::memory::Buffer;
use crate::stored::Stored;

impl Isa {
    /// Columns in a panel of packed B: two vectors, what a tile reads side by side.
    pub fn panel_width(self) -> usize {
        2 * self.lanes()
    }

    /// Rows in a panel of packed B: `depth`, or up to a whole number of steps of tiles.
    pub(crate) fn panel_depth(self, depth: usize) -> usize {
        if self.has_tiles() { depth.next_multiple_of(crate::amx::tile::STEP) } else { depth }
    }
}

/// B in panels of [`Isa::panel_width`] columns, each panel row after row, the last one filled up with
/// zeros: what a tile reads in order. Tiles of AMX want whole steps of rows ([`mod@crate::amx`]): more zeros.
/// `fill(panel, columns)` writes B[k, j] for each of `columns` to place k·panel_width + j − columns.start; panels are
/// filled side by side.
pub(crate) fn pack_panels(
    isa: Isa,
    depth: usize,
    columns: usize,
    fill: impl Fn(&mut [f32], Range<usize>) + Sync,
) -> Buffer {
    let mut packed = room(isa, depth, columns.div_ceil(isa.panel_width()));
    fill_panels(isa, depth, 0..columns, &mut packed, fill);
    packed
}

/// Place for panels; whoever takes it fills them.
pub(crate) fn room(isa: Isa, depth: usize, panels: usize) -> Buffer {
    let numbers = panels * isa.panel_depth(depth) * isa.panel_width();
    if isa.has_tiles() { Buffer::aligned(numbers) } else { Buffer::any(numbers) }
}

/// [`pack_panels`] of some of the columns, beginning with a panel's first, into as many panels as they take.
pub(crate) fn fill_panels(
    isa: Isa,
    depth: usize,
    columns: Range<usize>,
    packed: &mut [f32],
    fill: impl Fn(&mut [f32], Range<usize>) + Sync,
) {
    let width = isa.panel_width();
    let length = isa.panel_depth(depth) * width;
    packed.par_chunks_mut(length.max(1)).enumerate().for_each(|(i, panel)| {
        let first = columns.start + i * width;
        let mine = first..columns.end.min(first + width);
        let (panel, rest) = panel.split_at_mut(depth * width);
        rest.fill(0.0);
        if mine.len() < width {
            panel.fill(0.0);
        }
        fill(panel, mine);
    });
}

/// Packs B[k, j] = `rows`[k·stride + j].
pub fn pack_rows(isa: Isa, depth: usize, columns: usize, rows: &[f32], stride: usize) -> Buffer {
    pack_panels(isa, depth, columns, |panel, mine| {
        pack_panel(isa, panel, mine.len(), &rows[mine.start..], stride);
    })
}

/// Packs B[k, j] = `columns_of`[j·stride + k]: the transpose of its rows.
pub fn pack_columns<T: Stored>(
    isa: Isa,
    depth: usize,
    columns: usize,
    columns_of: &[T],
    stride: usize,
) -> Buffer {
    pack_panels(isa, depth, columns, |panel, mine| {
        pack_panel_transposed(isa, panel, mine.len(), &columns_of[mine.start * stride..], stride);
    })
}

/// One panel of B[k, j] = `rows`[k·stride + j], of which the first `columns` are written.
pub(crate) fn pack_panel(isa: Isa, panel: &mut [f32], columns: usize, rows: &[f32], stride: usize) {
    for (k, to) in panel.chunks_exact_mut(isa.panel_width()).enumerate() {
        to[..columns].copy_from_slice(&rows[k * stride..][..columns]);
    }
}

/// One panel of B[k, j] = `columns_of`[j·stride + k], of which the first `columns` are written.
pub(crate) fn pack_panel_transposed<T: Stored>(
    isa: Isa,
    panel: &mut [f32],
    columns: usize,
    columns_of: &[T],
    stride: usize,
) {
    if isa.panel_width() == 32 {
        pack_transposed::<T, 32>(panel, columns, columns_of, stride);
    } else {
        pack_transposed::<T, 16>(panel, columns, columns_of, stride);
    }
}

/// One panel of `WIDTH` columns, of which there are `columns`.
fn pack_transposed<T: Stored, const WIDTH: usize>(
    panel: &mut [f32],
    columns: usize,
    columns_of: &[T],
    stride: usize,
) {
    // Rows that are written together stay in the first level cache, and what is read lies side by side.
    const BLOCK: usize = 64;
    for (block, rows) in panel.as_chunks_mut::<WIDTH>().0.chunks_mut(BLOCK).enumerate() {
        let length = rows.len();
        let column = |x: usize| &columns_of[x * stride + block * BLOCK..][..length];
        let fours = columns.min(WIDTH) / 4 * 4;
        let mut x = 0;
        while x < fours {
            let (a, b, c, d) = (column(x), column(x + 1), column(x + 2), column(x + 3));
            let values = a.iter().zip(b).zip(c.iter().zip(d));
            for (row, ((a, b), (c, d))) in rows.iter_mut().zip(values) {
                row[x..x + 4].copy_from_slice(&[a.f32(), b.f32(), c.f32(), d.f32()]);
            }
            x += 4;
        }
        for x in fours..columns.min(WIDTH) {
            rows.iter_mut().zip(column(x)).for_each(|(row, value)| row[x] = value.f32());
        }
    }
}
