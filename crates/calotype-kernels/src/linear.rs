//! The linear map of rows, forward and backward. A 1×1 convolution is one, too.

use std::ops::Range;

use rayon::prelude::*;

use crate::amx::columns::{self, Panel};
use crate::amx::{self, operands, tile::PANEL};
use crate::bf16;
use crate::grouped;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::{pack_columns, pack_panel_transposed, pack_rows};
use crate::product::{self, Columns, Product, Start, Term};
use crate::stored::{Stored, Weights, by_storage};

/// Numbers of input in one piece of work.
const PIECE: usize = 32 * 1024;
/// Numbers of a row that become pairs together.
const STRETCH: usize = 256;

/// y = x Wᵀ + b. `x`: `[rows, input]`, `weight`: `[output, input]`, `bias`: `[output]`.
pub fn forward(isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], input: usize) -> Buffer {
    forward_packed(isa, x, &packed(isa, Weights::F32(weight), input), bias, input)
}

/// The weights as [`forward_packed`] reads them.
pub fn packed(isa: Isa, weight: Weights, input: usize) -> Buffer {
    if isa.takes_pairs() {
        return bf16::pack_stored_columns(isa, input, weight.len() / input, weight);
    }
    by_storage!(weight, weight => pack_columns(isa, input, weight.len() / input, weight, input))
}

/// [`forward`] with weights that [`packed`] made.
pub fn forward_packed(isa: Isa, x: &[f32], packed: &[f32], bias: &[f32], input: usize) -> Buffer {
    rows(isa, x, packed, &product::padded_bias(isa, bias), input, bias.len())
}

/// [`forward`] with weights in any storage, of which a few panels are in memory at a time.
pub fn forward_grouped(isa: Isa, x: &[f32], weight: Weights, bias: &[f32], input: usize) -> Buffer {
    grouped::forward(isa, x, bias, input, |panel, rows| match weight {
        // Nothing is rounded.
        Weights::Bf16(values) if isa.takes_pairs() && input.is_multiple_of(2) => {
            let pairs = &values.as_chunks::<2>().0[rows.start * input / 2..];
            pack_panel_transposed(isa, panel, rows.len(), pairs, input / 2);
        }
        weight if isa.takes_pairs() => by_storage!(weight, values => {
            let read = |row: usize, first: usize, to: &mut [f32]| {
                let row = &values[row * input + first..];
                to.iter_mut().zip(row).for_each(|(to, from)| *to = from.f32());
            };
            grouped::panel(isa, panel, (rows, input), STRETCH, read);
        }),
        weight => by_storage!(weight, values => {
            pack_panel_transposed(isa, panel, rows.len(), &values[rows.start * input..], input);
        }),
    })
}

/// ∂L/∂x = ∂L/∂y W. `dy`: `[rows, output]`, `weight`: `[output, input]`.
pub fn backward_input(isa: Isa, dy: &[f32], weight: &[f32], input: usize) -> Buffer {
    let output = weight.len() / input;
    let packed = if isa.takes_pairs() {
        bf16::pack_rows(isa, output, input, weight)
    } else {
        pack_rows(isa, output, input, weight, input)
    };
    rows(isa, dy, &packed, &vec![0.0; isa.round_up(input)], output, input)
}

/// Blocks of rows side by side.
fn rows(isa: Isa, x: &[f32], packed: &[f32], bias: &[f32], input: usize, output: usize) -> Buffer {
    if isa.has_tiles() {
        return rows_by_tiles(isa, x, packed, bias, input, output);
    }
    let pairs;
    let (x, input) = if isa.takes_pairs() {
        pairs = bf16::pairs_of_columns(isa, x, input);
        (&pairs[..], input.div_ceil(2))
    } else {
        (x, input)
    };
    let count = x.len() / input;
    let mut y = Buffer::any(count * output);
    // At least eight blocks where there are rows enough, so that threads share them evenly.
    let block = (PIECE / input).min(count.div_ceil(8)).max(1);
    y.par_chunks_mut(block * output).zip(x.par_chunks(block * input)).for_each(|(y, x)| {
        let product = Product {
            a_row: input,
            a_step: 1,
            terms: &[Term { a: 0, b: 0, length: input }],
            b: Columns::packed(isa, packed, input),
            rows: x.len() / input,
            columns: output,
            c_row: output,
            start: Start::Bias(bias),
        };
        product::run(isa, &product, x, y, &[(0, 0)]);
    });
    y
}

/// [`rows`] by tiles of [`mod@crate::amx`].
fn rows_by_tiles(isa: Isa, x: &[f32], b: &[f32], bias: &[f32], input: usize, columns: usize) -> Buffer {
    let rows = x.len() / input;
    let mut y = Buffer::aligned(rows * columns);
    let product = amx::product::Product { rows, depth: input.div_ceil(2), columns, b, bias: Some(bias) };
    let tiles = |rows, steps, to: &mut [f32]| operands::from_rows(isa, x, input, input, rows, steps, to);
    product.run(isa, tiles, |row| row * columns, &mut y);
    y
}

/// ∂L/∂W `[output, input]` = ∂L/∂yᵀ x. Threads share the weights, never the sum over rows: the result
/// does not depend on them.
pub fn backward_weight(isa: Isa, x: &[f32], dy: &[f32], input: usize, output: usize) -> Buffer {
    if isa.has_tiles() {
        return weight_by_tiles(isa, x, dy, input, output);
    }
    // A is the side that need not be a whole number of vectors.
    let width = isa.round_up(input);
    let widened;
    let x = if width == input {
        x
    } else {
        widened = widen(x, input, width);
        &widened[..]
    };
    let pairs;
    let (x, dy) = if isa.takes_pairs() {
        pairs = (bf16::pairs_of_rows(isa, x, width), bf16::pairs_of_rows(isa, dy, output));
        (&pairs.0[..], &pairs.1[..])
    } else {
        (x, dy)
    };
    let count = dy.len() / output;
    let shares = output.div_ceil(48);
    // Three shares would keep one of two threads waiting for a third of the time.
    let share = output.div_ceil(shares.next_multiple_of(4));
    let block = Product::cached_depth(share, input).clamp(1, count.max(1));
    let mut dw = Buffer::any(output * input);
    dw.par_chunks_mut(share * input).enumerate().for_each(|(i, dw)| {
        if count == 0 {
            dw.fill(0.0);
        }
        for first in (0..count).step_by(block) {
            let product = Product {
                a_row: 1,
                a_step: output,
                terms: &[Term { a: first * output, b: first, length: block.min(count - first) }],
                b: Columns::Rows { values: x, stride: width },
                rows: dw.len() / input,
                columns: input,
                c_row: input,
                start: Start::first_or_more(first == 0),
            };
            product::in_bands(isa, &product, &dy[i * share..], dw);
        }
    });
    dw
}

/// [`backward_weight`] by tiles of [`mod@crate::amx`].
fn weight_by_tiles(isa: Isa, x: &[f32], dy: &[f32], input: usize, output: usize) -> Buffer {
    let mut dw = Buffer::any(output * input);
    let panels: Vec<Panel> =
        (0..input).step_by(PANEL).map(|first| Panel { first, columns: PANEL.min(input - first) }).collect();
    let rows: Vec<u32> = (0..(x.len() / input) as u32).collect();
    let fill = |panel: usize, mine: Range<usize>, to: &mut [f32]| {
        let Panel { first, columns } = panels[panel];
        let mine = mine.start..rows.len().min(mine.end);
        operands::panel(isa, x, input, first..first + columns, &rows[mine], to);
    };
    columns::run(isa, (dy, output), &panels, fill, input, &mut dw);
    dw
}

/// Rows of `from` numbers as rows of `to` numbers, filled up with zeros.
pub(crate) fn widen(x: &[f32], from: usize, to: usize) -> Buffer {
    let mut wide = Buffer::zeros(x.len() / from * to);
    for (to, from) in wide.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
        to[..from.len()].copy_from_slice(from);
    }
    wide
}
