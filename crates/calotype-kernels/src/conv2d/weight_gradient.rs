//! The gradient of a convolution's weights.

use rayon::prelude::*;

use super::{Conv2dShape, tiles};
use crate::isa::Isa;
use crate::linear::{self, widen};
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start, Term};
use crate::{bf16, winograd};

/// ∂L/∂W `[out, in, k_h, k_w]`: for each place of the window, Σ over pixels of xᵀ dy.
///
/// Threads share the places and input channels, never the sum: the result does not depend on them.
pub fn backward_weight(isa: Isa, s: &Conv2dShape, x: &[f32], dy: &[f32]) -> Buffer {
    if s.is_linear() {
        return linear::backward_weight(isa, x, dy, s.input, s.output);
    }
    if isa.has_tiles() {
        return tiles::backward_weight(isa, s, x, dy);
    }
    let (input, output, places) = (s.input, s.output, s.kernel[0] * s.kernel[1]);
    let width = isa.round_up(output);
    // Fewer channels do not pay for the transforms, more fall out of the caches.
    if let Some(w) = s.winograd(isa)
        && width == output
        && (32..=384).contains(&input)
        && !isa.takes_pairs()
    {
        return winograd::backward_weight(isa, &w, x, dy);
    }
    let widened;
    let dy = if width == output {
        dy
    } else {
        widened = widen(dy, output, width);
        &widened[..]
    };
    // Pairs of pictures: their pixels lie in the same places.
    let pairs;
    let (batch, x, dy) = if isa.takes_pairs() {
        let out_picture = s.out_height * s.out_width * width;
        pairs = (bf16::pairs_of_rows(isa, x, s.picture()), bf16::pairs_of_rows(isa, dy, out_picture));
        (s.batch.div_ceil(2), &pairs.0[..], &pairs.1[..])
    } else {
        (s.batch, x, dy)
    };
    let terms: Vec<Vec<Term>> =
        (0..places).map(|place| pixel_rows(&Conv2dShape { batch, ..*s }, place)).collect();
    let in_block = input.div_ceil(input.div_ceil(32));
    // Rows of pixels that stay in the first level cache while all tiles of a place pass over them.
    let rows = (Product::cached_depth(in_block, output) / s.out_width).max(1);
    let blocks_of_input = input.div_ceil(in_block);
    let mut by_place = Buffer::any(places * input * output);
    let mut left = &mut by_place[..];
    let mut work = Vec::new();
    for place in 0..places {
        for i in 0..blocks_of_input {
            let channels = in_block.min(input - i * in_block);
            let (mine, others) = left.split_at_mut(channels * output);
            work.push((place, i * in_block, channels, mine));
            left = others;
        }
    }
    work.into_par_iter().for_each(|(place, i, channels, dw)| {
        if terms[place].is_empty() {
            dw.fill(0.0);
        }
        for (stretch, terms) in terms[place].chunks(rows).enumerate() {
            let product = Product {
                a_row: 1,
                a_step: s.stride * input,
                terms,
                b: Columns::Rows { values: dy, stride: width },
                rows: channels,
                columns: output,
                c_row: output,
                start: Start::first_or_more(stretch == 0),
            };
            product::in_bands(isa, &product, &x[i..], dw);
        }
    });
    let mut dw = Buffer::any(by_place.len());
    for (place, from) in by_place.chunks_exact(input * output).enumerate() {
        for (i, row) in from.chunks_exact(output).enumerate() {
            for (o, &value) in row.iter().enumerate() {
                dw[(o * input + i) * places + place] = value;
            }
        }
    }
    dw
}

/// The pixels that a place of the window meets: for each row of output its part that lies inside the
/// picture.
fn pixel_rows(s: &Conv2dShape, place: usize) -> Vec<Term> {
    let (kh, kw) = (place / s.kernel[1], place % s.kernel[1]);
    let [pad_rows, pad_columns] = s.pad_begin;
    // Output coordinates whose input coordinate o·stride + offset − pad lies in 0..n.
    let inside = |offset: usize, pad: usize, n: usize, out: usize| {
        let begin = pad.saturating_sub(offset).div_ceil(s.stride).min(out);
        let end = if n + pad > offset { (n + pad - offset).div_ceil(s.stride) } else { 0 };
        begin..end.clamp(begin, out)
    };
    let ys = inside(kh, pad_rows, s.height, s.out_height);
    let xs = inside(kw, pad_columns, s.width, s.out_width);
    if xs.is_empty() {
        return vec![];
    }
    (0..s.batch)
        .flat_map(|n| {
            let xs = xs.clone();
            ys.clone().map(move |y| {
                let (from_y, from_x) = (y * s.stride + kh - pad_rows, xs.start * s.stride + kw - pad_columns);
                Term {
                    a: ((n * s.height + from_y) * s.width + from_x) * s.input,
                    b: (n * s.out_height + y) * s.out_width + xs.start,
                    length: xs.len(),
                }
            })
        })
        .collect()
}
