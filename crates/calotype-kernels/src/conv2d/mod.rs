//! Two-dimensional convolution over channels-last pictures, forward and backward.

mod input_gradient;
mod packing;
mod shape;
mod tiles;
mod weight_gradient;

use rayon::prelude::*;

use crate::bf16;
use crate::isa::Isa;
use crate::linear;
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start, Term};
use crate::stored::{Weights, by_storage};
use crate::winograd::{self, WinogradShape};

pub use packing::packed;
pub(crate) use packing::{KERNELS, Taps};
pub use shape::{Conv2dShape, Form};
pub use weight_gradient::backward_weight;

/// Numbers of input that one piece of work copies into its padded scratch: a good half of a second
/// level cache is left for the weights.
const SCRATCH: usize = 32 * 1024;

/// Where each row (or column) of the padded input comes from.
type Sources = Vec<Option<usize>>;

/// `length` places, of which the first `before` and those after `n` more are zero.
fn sources(n: usize, length: usize, before: usize) -> Sources {
    (0..length).map(|i| i.checked_sub(before).filter(|&i| i < n)).collect()
}

/// y = W ⋆ x + b. `weight` is `[out, in, k_h, k_w]`, `bias` `[out]`.
pub fn forward(isa: Isa, s: &Conv2dShape, x: &[f32], weight: &[f32], bias: &[f32]) -> Buffer {
    forward_grouped(isa, s, x, Weights::F32(weight), bias)
}

/// [`forward`] with weights in any storage, of which a few panels are in memory at a time where they are many.
pub fn forward_grouped(isa: Isa, s: &Conv2dShape, x: &[f32], weight: Weights, bias: &[f32]) -> Buffer {
    if s.is_linear() {
        return linear::forward_grouped(isa, x, weight, bias, s.input);
    }
    match s.winograd(isa) {
        Some(w) => by_storage!(weight, weight => {
            winograd::forward_grouped(isa, &w, x, bias, packing::taps(isa, s, weight))
        }),
        None => forward_packed(isa, s, x, &packed(isa, s, weight), bias),
    }
}

/// [`forward`] with weights that [`packed`] made.
pub fn forward_packed(isa: Isa, s: &Conv2dShape, x: &[f32], packed: &[f32], bias: &[f32]) -> Buffer {
    if s.is_linear() {
        return linear::forward_packed(isa, x, packed, bias, s.input);
    }
    if let Some(w) = s.winograd(isa) {
        return winograd::forward(isa, &w, x, packed, bias);
    }
    let pairs = s.form(isa) == Form::Pairs;
    let isa = if pairs { isa } else { isa.f32() };
    let bias = product::padded_bias(isa, bias);
    if isa.has_tiles() {
        return tiles::forward(isa, s, x, packed, &bias);
    }
    let [k_h, k_w] = s.kernel;
    let [pad_rows, pad_columns] = s.pad_begin;
    let rows = sources(s.height, (s.out_height - 1) * s.stride + k_h, pad_rows);
    let columns = sources(s.width, (s.out_width - 1) * s.stride + k_w, pad_columns);
    if pairs {
        windows(isa, &s.in_pairs(), &bf16::pairs_of_columns(isa, x, s.input), packed, &bias, &rows, &columns)
    } else {
        windows(isa, s, x, packed, &bias, &rows, &columns)
    }
}

/// ∂L/∂x from ∂L/∂y: a convolution of ∂L/∂y with the flipped weights.
pub fn backward_input(isa: Isa, s: &Conv2dShape, dy: &[f32], weight: &[f32]) -> Buffer {
    if s.is_linear() {
        return linear::backward_input(isa, dy, weight, s.input);
    }
    if s.stride > 1 {
        return input_gradient::strided(isa, s, dy, weight);
    }
    let pairs = isa.takes_pairs() && s.output.is_multiple_of(2);
    let isa = if pairs { isa } else { isa.f32() };
    if isa.has_tiles() {
        return tiles::backward_input(isa, s, dy, weight);
    }
    if let Some(w) = s.winograd(isa) {
        let w = WinogradShape { input: w.output, output: w.input, ..w };
        let taps = packing::flipped_taps(isa, s, weight);
        return winograd::forward_grouped(isa, &w, dy, &vec![0.0; s.input], taps);
    }
    let [k_h, k_w] = s.kernel;
    let adjoint = Conv2dShape {
        height: s.out_height,
        width: s.out_width,
        input: s.output,
        output: s.input,
        pad_begin: [0, 0],
        out_height: s.height,
        out_width: s.width,
        ..*s
    };
    let adjoint = if pairs { adjoint.in_pairs() } else { adjoint };
    let taps = packing::flipped_taps(isa, s, weight);
    let packed = packing::windows(isa, [s.output, s.input], s.places(), pairs, taps);
    // Place i of the padded gradient is dy[i + pad_begin − (k − 1)].
    let source = |n: usize, length: usize, k: usize, pad: usize| -> Sources {
        (0..length).map(|i| (i + pad).checked_sub(k - 1).filter(|&at| at < n)).collect()
    };
    let rows = source(s.out_height, s.height - 1 + k_h, k_h, s.pad_begin[0]);
    let columns = source(s.out_width, s.width - 1 + k_w, k_w, s.pad_begin[1]);
    let no_bias = vec![0.0; isa.round_up(s.input)];
    if pairs {
        let dy = bf16::pairs_of_columns(isa, dy, s.output);
        windows(isa, &adjoint, &dy, &packed, &no_bias, &rows, &columns)
    } else {
        windows(isa, &adjoint, dy, &packed, &no_bias, &rows, &columns)
    }
}

/// A piece of work: pictures, or rows of one picture.
#[derive(Debug, Clone, Copy)]
struct Piece {
    pictures: (usize, usize),
    rows: (usize, usize),
}

/// Whole pictures while they fit into [`SCRATCH`], bands of rows of one picture otherwise.
fn pieces(s: &Conv2dShape, padded_rows: usize, padded_columns: usize) -> Vec<Piece> {
    let row = padded_columns * s.input;
    let at_once = SCRATCH / (row * padded_rows).max(1);
    if at_once >= 1 {
        // At least eight pieces where there are pictures enough, so that threads share them evenly.
        let at_once = at_once.min(s.batch.div_ceil(8));
        return (0..s.batch)
            .step_by(at_once)
            .map(|n| Piece { pictures: (n, (n + at_once).min(s.batch)), rows: (0, s.out_height) })
            .collect();
    }
    let band = ((SCRATCH / row).saturating_sub(s.kernel[0]) / s.stride).clamp(1, s.out_height);
    (0..s.batch)
        .flat_map(|n| {
            (0..s.out_height)
                .step_by(band)
                .map(move |y| Piece { pictures: (n, n + 1), rows: (y, (y + band).min(s.out_height)) })
        })
        .collect()
}

/// The output of every window; `rows` and `columns` say where the padded input comes from.
fn windows(
    isa: Isa,
    s: &Conv2dShape,
    x: &[f32],
    packed: &[f32],
    bias: &[f32],
    rows: &Sources,
    columns: &Sources,
) -> Buffer {
    let mut y = Buffer::any(s.output_len());
    let mut left = &mut y[..];
    let mut work = Vec::new();
    for piece in pieces(s, rows.len(), columns.len()) {
        let pictures = piece.pictures.1 - piece.pictures.0;
        let numbers = pictures * (piece.rows.1 - piece.rows.0) * s.out_width * s.output;
        let (mine, others) = left.split_at_mut(numbers);
        work.push((piece, mine));
        left = others;
    }
    let row = columns.len() * s.input;
    let [k_h, k_w] = s.kernel;
    let terms: Vec<Term> =
        (0..k_h).map(|y| Term { a: y * row, b: y * k_w * s.input, length: k_w * s.input }).collect();
    let product = Product {
        a_row: s.stride * s.input,
        a_step: 1,
        terms: &terms,
        b: Columns::packed(isa, packed, k_h * k_w * s.input),
        rows: s.out_width,
        columns: s.output,
        c_row: s.output,
        start: Start::Bias(bias),
    };
    work.into_par_iter().for_each(|(piece, y)| {
        let (first, end) = piece.rows;
        let pictures = piece.pictures.1 - piece.pictures.0;
        let band = &rows[first * s.stride..(end - 1) * s.stride + k_h];
        let mut padded = Buffer::zeros(pictures * band.len() * row);
        for n in 0..pictures {
            let picture = &x[(piece.pictures.0 + n) * s.picture()..][..s.picture()];
            pad(picture, s.width, s.input, band, columns, &mut padded[n * band.len() * row..]);
        }
        let origins: Vec<(usize, usize)> = (0..pictures)
            .flat_map(|n| {
                (0..end - first).map(move |y| {
                    let from = (n * band.len() + y * s.stride) * row;
                    (from, (n * (end - first) + y) * s.out_width * s.output)
                })
            })
            .collect();
        product::run(isa, &product, &padded, y, &origins);
    });
    y
}

/// Copies the rows and columns of a picture to where `rows` and `columns` want them: columns one after the other, with
/// nothing before and after. `padded` is zero before.
fn pad(
    picture: &[f32],
    width: usize,
    channels: usize,
    rows: &[Option<usize>],
    columns: &Sources,
    padded: &mut [f32],
) {
    let mut used = columns.iter().enumerate().filter_map(|(to, from)| Some((to, (*from)?)));
    let Some((to, from)) = used.next() else { return };
    let (to, from, length) = (to * channels, from * channels, (1 + used.count()) * channels);
    for (padded, row) in padded.chunks_exact_mut(columns.len() * channels).zip(rows) {
        if let Some(row) = row {
            padded[to..][..length].copy_from_slice(&picture[row * width * channels + from..][..length]);
        }
    }
}
