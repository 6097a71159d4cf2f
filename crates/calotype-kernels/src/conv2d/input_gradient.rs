//! The gradient of a convolution's input, where the window moves by more than a pixel.

use rayon::prelude::*;

use super::{Conv2dShape, SCRATCH, pad};
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start, Term, pack_panels};

/// One axis of the pixels that lie alike to the windows: `phase`, `phase` + stride, and so on.
struct Phase {
    phase: usize,
    /// Its pixels.
    count: usize,
    /// Places of the kernel that meet them, and where each finds ∂L/∂y: so many places before pixel n is n of it.
    taps: Vec<(usize, isize)>,
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
    let pairs;
    let (isa, dy, channels) = if in_pairs {
        pairs = bf16::pairs_of_columns(isa, dy, s.output);
        (isa, &pairs[..], s.output / 2)
    } else {
        (isa.f32(), dy, s.output)
    };
    let [ys, xs] = [0, 1].map(|axis| {
        let n = [s.height, s.width][axis];
        Phase::of_axis(n, s.kernel[axis], s.stride, s.pad_begin[axis])
    });
    let ((above, rows), (left, columns)) = (Phase::span(&ys), Phase::span(&xs));
    let source = |length: usize, before: usize, n: usize| -> Vec<Option<usize>> {
        (0..length).map(|i| i.checked_sub(before).filter(|&i| i < n)).collect()
    };
    let (from_rows, from_columns) = (source(rows, above, s.out_height), source(columns, left, s.out_width));

    let phases: Vec<(&Phase, &Phase)> = ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))).collect();
    let place = |before: usize, offset: isize| before.saturating_add_signed(offset);
    let terms_of = |(y, x): &(&Phase, &Phase)| -> Vec<Term> {
        let taps = y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y.1, x.1)));
        let at = |(y, x)| (place(above, y) * columns + place(left, x)) * channels;
        let term = |(tap, offsets)| Term { a: at(offsets), b: tap * channels, length: channels };
        taps.enumerate().map(term).collect()
    };
    let terms: Vec<Vec<Term>> = phases.iter().map(terms_of).collect();
    let packed: Vec<Buffer> = phases.iter().map(|(y, x)| part(isa, s, weight, (y, x), in_pairs)).collect();

    // Bands of rows whose ∂L/∂y stays in a cache.
    let reach = ys.iter().flat_map(|y| &y.taps).map(|tap| place(above, tap.1)).max().unwrap_or(0);
    let band = (SCRATCH / (columns * channels).max(1)).saturating_sub(reach).max(1);
    let mut dx = Buffer::any(s.batch * s.picture());
    let pictures = dx.par_chunks_mut(s.picture()).zip(dy.par_chunks(s.out_height * s.out_width * channels));
    pictures.for_each(|(dx, dy)| {
        dx.par_chunks_mut(band * s.stride * s.width * s.input).enumerate().for_each(|(i, dx)| {
            let first = i * band;
            let mine = &from_rows[first.min(rows)..rows.min(first + band + reach)];
            let mut padded = Buffer::zeros((band + reach) * columns * channels);
            pad(dy, s.out_width, channels, mine, &from_columns, &mut padded);
            for (((y, x), terms), packed) in phases.iter().zip(&terms).zip(&packed) {
                let product = Product {
                    a_row: channels,
                    a_step: 1,
                    terms,
                    b: Columns::packed(isa, packed, terms.len() * channels),
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

/// The part of the weights that one phase meets: B row (tap, o) has those of every input channel.
fn part(isa: Isa, s: &Conv2dShape, weight: &[f32], (y, x): (&Phase, &Phase), in_pairs: bool) -> Buffer {
    let taps: Vec<usize> =
        y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| y.0 * s.kernel[1] + x.0)).collect();
    let channels = if in_pairs { s.output / 2 } else { s.output };
    pack_panels(isa, taps.len() * channels, s.input, |panel, inputs| {
        let rows = panel.chunks_exact_mut(isa.panel_width());
        let tap_and_channel = taps.iter().flat_map(|tap| (0..channels).map(move |o| (*tap, o)));
        for (row, (tap, o)) in rows.zip(tap_and_channel) {
            let at = |o: usize, i: usize| weight[(o * s.input + i) * s.places() + tap];
            for (to, i) in row.iter_mut().zip(inputs.clone()) {
                *to = if in_pairs { bf16::pair(at(2 * o, i), at(2 * o + 1, i)) } else { at(o, i) };
            }
        }
    })
}
