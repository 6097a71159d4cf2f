//! The linear map by a weight of which a few panels are in memory at a time: made, multiplied, and overwritten by the
//! next. For weights that are too large to be kept as the product reads them, or that are no floats.

use std::ops::Range;

use rayon::prelude::*;

use crate::amx::{self, operands};
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::{fill_panels, pack_panel_transposed, room};
use crate::product::{self, Columns, Product, Start, Term, padded_bias};

/// Numbers of a group of panels, unless every thread has a panel of its own then: 4 MiB, so that panels are still in a
/// cache of the third level when rows pass by.
const GROUP: usize = 1 << 20;
/// The same for tiles of AMX, for which rows are rounded once for each group: 32 MiB.
const GROUP_OF_TILES: usize = 8 << 20;
/// Rows that pass by a panel together: while they do, it stays in a cache of the second level.
const ROWS: usize = 96;

/// y = x Wᵀ + b. `x`: `[rows, input]`, `bias`: `[output]`. `fill` writes panels of W as [`crate::panels::pack_panels`]
/// says, of pairs where `isa` takes these. The numbers are those of [`crate::linear::forward_packed`].
pub(crate) fn forward(
    isa: Isa,
    x: &[f32],
    bias: &[f32],
    input: usize,
    fill: impl Fn(&mut [f32], Range<usize>) + Sync,
) -> Buffer {
    let (rows, output) = (x.len() / input, bias.len());
    let depth = if isa.takes_pairs() { input.div_ceil(2) } else { input };
    let most = if isa.has_tiles() { GROUP_OF_TILES } else { GROUP };
    let bias = padded_bias(isa, bias);
    let pairs = (isa.takes_pairs() && !isa.has_tiles()).then(|| bf16::pairs_of_columns(isa, x, input));
    let mut y = if isa.has_tiles() { Buffer::aligned(rows * output) } else { Buffer::any(rows * output) };
    in_groups(isa, depth, output, most, |columns, packed| {
        fill_panels(isa, depth, columns.clone(), packed, &fill);
        let group = Group { isa, depth, packed, bias: &bias[columns.start..], columns, output };
        match &pairs {
            None if isa.has_tiles() => group.multiply_tiles(x, input, &mut y),
            None => group.multiply(x, &mut y),
            Some(pairs) => group.multiply(pairs, &mut y),
        }
    });
    y
}

/// Place for the panels of some of a product's columns, about `most` numbers but at least a panel for each thread, for
/// one group of columns after the other: `f(columns, panels)`.
pub(crate) fn in_groups(
    isa: Isa,
    depth: usize,
    columns: usize,
    most: usize,
    mut f: impl FnMut(Range<usize>, &mut [f32]),
) {
    let (width, panel) = (isa.panel_width(), isa.panel_depth(depth) * isa.panel_width());
    let panels = (most / panel).max(rayon::current_num_threads()).min(columns.div_ceil(width));
    let mut packed = room(isa, depth, panels);
    for first in (0..columns).step_by((panels * width).max(1)) {
        let mine = first..columns.min(first + panels * width);
        let used = mine.len().div_ceil(width) * panel;
        f(mine, &mut packed[..used]);
    }
}

/// A panel of the product's B from rows of W, `depth` numbers each: B's columns. In pairs where `isa` takes these.
///
/// - `stretch`: an even number of numbers that are read together.
/// - `read(row, first, to)`: the numbers of a row from `first` on.
pub(crate) fn panel(
    isa: Isa,
    panel: &mut [f32],
    (rows, depth): (Range<usize>, usize),
    stretch: usize,
    read: impl Fn(usize, usize, &mut [f32]),
) {
    let width = isa.panel_width();
    let mut numbers = Buffer::any(rows.len() * stretch);
    let mut pairs = isa.takes_pairs().then(|| Buffer::any(rows.len() * stretch / 2));
    for first in (0..depth).step_by(stretch) {
        let length = stretch.min(depth - first);
        rows.clone().zip(numbers.chunks_exact_mut(length)).for_each(|(row, to)| read(row, first, to));
        let (from, first, length) = match &mut pairs {
            None => (&numbers, first, length),
            Some(pairs) => {
                let half = length.div_ceil(2);
                let both = numbers.chunks_exact(length).zip(pairs.chunks_exact_mut(half));
                both.take(rows.len()).for_each(|(from, to)| bf16::along(isa, from, to));
                (&*pairs, first / 2, half)
            }
        };
        pack_panel_transposed(isa, &mut panel[first * width..][..length * width], rows.len(), from, length);
    }
}

/// Some columns of y.
struct Group<'a> {
    isa: Isa,
    depth: usize,
    packed: &'a [f32],
    bias: &'a [f32],
    columns: Range<usize>,
    output: usize,
}

impl Group<'_> {
    /// All rows of `x`, `[rows, depth]`, on all threads: rows side by side, or columns where rows are too few.
    fn multiply(&self, x: &[f32], y: &mut [f32]) {
        let (depth, output) = (self.depth, self.output);
        let (rows, threads) = (x.len() / depth, rayon::current_num_threads());
        if rows >= threads {
            let block = rows.div_ceil(4 * threads).min(ROWS);
            let blocks = y.par_chunks_mut(block * output).zip(x.par_chunks(block * depth));
            blocks.for_each(|(y, x)| self.columns_of(0, self.columns.len(), x, &mut y[self.columns.start..]));
            return;
        }
        let width = self.isa.panel_width();
        for (y, x) in y.chunks_exact_mut(output).zip(x.chunks_exact(depth)) {
            let panels = y[self.columns.clone()].par_chunks_mut(width).enumerate();
            panels.for_each(|(panel, y)| self.columns_of(panel, y.len(), x, y));
        }
    }

    /// So many columns from a panel on; `y` begins with the first of them.
    fn columns_of(&self, panel: usize, columns: usize, x: &[f32], y: &mut [f32]) {
        let first = panel * self.isa.panel_width();
        let product = Product {
            a_row: self.depth,
            a_step: 1,
            terms: &[Term { a: 0, b: 0, length: self.depth }],
            b: Columns::packed(self.isa, &self.packed[first * self.depth..], self.depth),
            rows: x.len() / self.depth,
            columns,
            c_row: self.output,
            start: Start::Bias(&self.bias[first..]),
        };
        product::run(self.isa, &product, x, y, &[(0, 0)]);
    }

    /// The same by tiles of [`mod@crate::amx`], which share the work out themselves; `x`: `[rows, input]`.
    fn multiply_tiles(&self, x: &[f32], input: usize, y: &mut [f32]) {
        let (depth, columns) = (self.depth, self.columns.len());
        let (rows, first) = (x.len() / input, self.columns.start);
        let product = amx::product::Product { rows, depth, columns, b: self.packed, bias: Some(self.bias) };
        let tiles =
            |rows, steps, to: &mut [f32]| operands::from_rows(self.isa, x, input, input, rows, steps, to);
        product.run(self.isa, tiles, |row| row * self.output + first, y);
    }
}

#[cfg(test)]
mod tests {
    use burn_std::{bf16, f16};

    use super::*;
    use crate::linear;
    use crate::stored::Weights;
    use crate::testing::numbers;

    #[test]
    fn groups_change_no_bit_whatever_the_weight_is_stored_in() {
        // The last two need several groups of panels.
        for (rows, input, output) in [(1, 1, 1), (7, 33, 40), (100, 64, 7), (3, 4099, 600), (20, 9000, 200)] {
            let (x, w, bias) = (numbers(rows * input, 1), numbers(input * output, 2), numbers(output, 3));
            let half: Vec<f16> = w.iter().map(|&x| f16::from_f32(x)).collect();
            let brain: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
            for weight in [Weights::F32(&w), Weights::F16(&half), Weights::Bf16(&brain)] {
                for isa in Isa::available().into_iter().chain(Isa::tested_bf16()) {
                    let whole = linear::packed(isa, weight, input);
                    let whole = linear::forward_packed(isa, &x, &whole, &bias, input);
                    let got = linear::forward_grouped(isa, &x, weight, &bias, input);
                    let same = whole.iter().zip(got.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same && got.len() == rows * output, "{isa:?}: {rows} × {input} × {output}");
                }
            }
        }
    }
}
