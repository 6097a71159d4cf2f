//! The gradient of a convolution's input, where the window moves by more than a pixel.

use rayon::prelude::*;

use super::{Conv2dShape, SCRATCH, packing, pad, sources, tiles};
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start, Term};

/// One axis of the pixels that lie alike to the windows: `phase`, `phase` + stride, and so on.
pub(super) struct Phase {
    /// The first pixel.
    pub phase: usize,
    /// Its pixels.
    pub count: usize,
    /// Places of the kernel that meet them, and where each finds ∂L/∂y: so many places before pixel n is n of it.
    pub taps: Vec<(usize, isize)>,
}

impl Phase {
    /// Those of an axis of `n` pixels. Places are in falling order, as in a convolution with the flipped kernel.
    fn of_axis(n: usize, kernel: usize, stride: usize, pad: usize) -> Vec<Self> {
        let taps = |phase: usize| {
            let meets = |k: &usize| (phase + pad + stride * kernel - k).is_multiple_of(stride);
            let offset = move |k: usize| ((phase + pad) as isize - k as isize) / stride as isize;
            (0..kernel).rev().filter(meets).map(|k| (k, offset(k))).collect()
        };
        let phases = (0..stride.min(n)).map(|phase| {
            let count = (n - phase).div_ceil(stride);
            Self { phase, count, taps: taps(phase) }
        });
        phases.collect()
    }

    /// Places of ∂L/∂y that the phases of an axis ask for before its first, and all together.
    fn span(phases: &[Self]) -> (usize, usize) {
        let (mut before, mut after) = (0, 0);
        for Self { count, taps, .. } in phases {
            for &(_, offset) in taps {
                before = before.max(-offset);
                after = after.max(offset + *count as isize);
            }
        }
        let (before, after) = (before.unsigned_abs(), after.unsigned_abs());
        (before, before + after)
    }
}

/// ∂L/∂x from ∂L/∂y. A gradient spread out by the stride would be a convolution over zeros mostly. Pixels that lie alike
/// to the windows meet the same places of the kernel: each such phase is a convolution of ∂L/∂y with a part of it.
pub fn strided(isa: Isa, s: &Conv2dShape, dy: &[f32], weight: &[f32]) -> Buffer {
    let in_pairs = isa.takes_pairs() && s.output.is_multiple_of(2);
    let [ys, xs] = [0, 1].map(|axis| {
        let n = [s.height, s.width][axis];
        Phase::of_axis(n, s.kernel[axis], s.stride, s.pad_begin[axis])
    });
    let phases: Vec<(&Phase, &Phase)> = ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))).collect();
    if in_pairs && isa.has_tiles() {
        return tiles::backward_input_strided(isa, s, dy, weight, &phases);
    }
    let pairs;
    let (isa, dy, channels) = if in_pairs {
        pairs = bf16::pairs_of_columns(isa, dy, s.output);
        (isa, &pairs[..], s.output / 2)
    } else {
        (isa.f32(), dy, s.output)
    };
    let ((above, rows), (left, columns)) = (Phase::span(&ys), Phase::span(&xs));
    let (from_rows, from_columns) = (sources(s.out_height, rows, above), sources(s.out_width, columns, left));

    let place = |before: usize, offset: isize| before.saturating_add_signed(offset);
    let places = s.places();
    let terms_of = |(y, x): &(&Phase, &Phase)| -> Vec<Term> {
        let taps = y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (*y, *x)));
        let term = |((k_y, down), (k_x, right)): ((usize, isize), (usize, isize))| Term {
            a: (place(above, down) * columns + place(left, right)) * channels,
            // The packed places are flipped.
            b: (places - 1 - (k_y * s.kernel[1] + k_x)) * channels,
            length: channels,
        };
        taps.map(term).collect()
    };
    let terms: Vec<Vec<Term>> = phases.iter().map(terms_of).collect();
    let taps = packing::flipped_taps(isa, s, weight);
    let packed = packing::windows(isa, [s.output, s.input], places, in_pairs, taps);

    // Bands of rows whose ∂L/∂y stays in a cache.
    let reach = ys.iter().flat_map(|y| &y.taps).map(|tap| place(above, tap.1)).max().unwrap_or(0);
    let band = (SCRATCH / (columns * channels).max(1)).saturating_sub(reach);
    let band = band.clamp(1, s.height.div_ceil(s.stride));
    let mut dx = Buffer::any(s.batch * s.picture());
    let pictures = dx.par_chunks_mut(s.picture()).zip(dy.par_chunks(s.out_height * s.out_width * channels));
    pictures.for_each(|(dx, dy)| {
        dx.par_chunks_mut(band * s.stride * s.width * s.input).enumerate().for_each(|(i, dx)| {
            let first = i * band;
            let mine = &from_rows[first.min(rows)..rows.min(first + band + reach)];
            let mut padded = Buffer::zeros((band + reach) * columns * channels);
            pad(dy, s.out_width, channels, mine, &from_columns, &mut padded);
            for ((y, x), terms) in phases.iter().zip(&terms) {
                let product = Product {
                    a_row: channels,
                    a_step: 1,
                    terms,
                    b: Columns::packed(isa, &packed, places * channels),
                    rows: x.count,
                    columns: s.input,
                    c_row: s.stride * s.input,
                    start: Start::Zero,
                };
                let to = |n: usize| ((y.phase + n * s.stride) * s.width + x.phase) * s.input;
                let count = y.count.saturating_sub(first).min(band);
                let origins: Vec<(usize, usize)> =
                    (0..count).map(|n| (n * columns * channels, to(n))).collect();
                product::run(isa, &product, &padded, dx, &origins);
            }
        });
    });
    dx
}
