//! Products of bf16 numbers with sums in f32.
//!
//! The instruction multiplies *pairs*: two neighbours of the inner dimension, each rounded to bf16, in the
//! 32 bits of one f32 (Intel, AVX512-BF16, `vdpbf16ps`). An operand in pairs is half as long in the inner
//! dimension and otherwise lies as it did, so the matrix product is the same code for both.

use burn_std::bf16;
use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::memory::Buffer;
use crate::panels;
use crate::stored::{Stored, Weights};

/// Numbers that are converted together.
const PIECE: usize = 16 * 1024;

/// The nearest bf16, ties to even, in the lower 16 bits.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    // A NaN whose payload lies in the lower bits only must not be rounded to infinity.
    let quiet = if x.is_nan() { 0x40_0000 } else { 0 };
    ((bits | quiet) + 0x7FFF + ((bits >> 16) & 1)) >> 16
}

/// Two neighbours of the inner dimension.
#[inline(always)]
pub(crate) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) | rounded(second) << 16)
}

by_isa! {
    /// Pairs along a row: `to[i]` = (`from[2i]`, `from[2i + 1]`), a last one with zero.
    pub(crate) fn along(from: &[f32], to: &mut [f32]) {
        let (pairs, rest) = from.as_chunks::<2>();
        for (to, [first, second]) in to.iter_mut().zip(pairs) {
            *to = pair(*first, *second);
        }
        if let ([last], Some(to)) = (rest, to.last_mut()) {
            *to = pair(*last, 0.0);
        }
    }
}

by_isa! {
    /// Pairs of two rows.
    pub(crate) fn across(first: &[f32], second: &[f32], to: &mut [f32]) {
        for (to, (first, second)) in to.iter_mut().zip(first.iter().zip(second)) {
            *to = pair(*first, *second);
        }
    }
}

/// `[rows, columns]` to pairs along the columns, `[rows, ⌈columns/2⌉]`.
pub fn pairs_of_columns(isa: Isa, x: &[f32], columns: usize) -> Buffer {
    let pairs = columns.div_ceil(2);
    let mut out = Buffer::any(x.len() / columns * pairs);
    if columns.is_multiple_of(2) {
        out.par_chunks_mut(PIECE).zip(x.par_chunks(2 * PIECE)).for_each(|(to, from)| along(isa, from, to));
    } else {
        let rows = out.chunks_exact_mut(pairs).zip(x.chunks_exact(columns));
        rows.for_each(|(to, from)| along(isa, from, to));
    }
    out
}

/// `[rows, columns]` to pairs of neighbouring rows, `[⌈rows/2⌉, columns]`; a last odd row with zeros.
pub fn pairs_of_rows(isa: Isa, x: &[f32], columns: usize) -> Buffer {
    let rows = x.len() / columns;
    let mut out = Buffer::any(rows.div_ceil(2) * columns);
    out.par_chunks_mut(columns).zip(x.par_chunks(2 * columns)).with_min_len(PIECE / columns + 1).for_each(
        |(to, from)| match from.split_at(columns) {
            (first, []) => across(isa, first, &vec![0.0; columns], to),
            (first, second) => across(isa, first, second, to),
        },
    );
    out
}

/// [`crate::panels::pack_rows`] in pairs.
pub fn pack_rows(isa: Isa, depth: usize, columns: usize, rows: &[f32]) -> Buffer {
    let pairs = pairs_of_rows(isa, rows, columns);
    panels::pack_rows(isa, depth.div_ceil(2), columns, &pairs, columns)
}

/// Two neighbours that are stored in bf16: a pair as it is.
impl Stored for [bf16; 2] {
    #[inline(always)]
    fn f32(self) -> f32 {
        f32::from_bits(u32::from(self[0].to_bits()) | u32::from(self[1].to_bits()) << 16)
    }
}

/// [`crate::panels::pack_columns`] in pairs, of numbers stored in any way.
pub fn pack_stored_columns(isa: Isa, depth: usize, columns: usize, columns_of: Weights) -> Buffer {
    match columns_of {
        // Nothing is rounded.
        Weights::Bf16(values) if depth.is_multiple_of(2) => {
            let pairs = values.as_chunks::<2>().0;
            panels::pack_columns(isa, depth / 2, columns, pairs, depth / 2)
        }
        other => pack_columns(isa, depth, columns, &other.widened(isa)),
    }
}

/// [`crate::panels::pack_columns`] in pairs.
pub fn pack_columns(isa: Isa, depth: usize, columns: usize, columns_of: &[f32]) -> Buffer {
    let pairs = pairs_of_columns(isa, columns_of, depth);
    panels::pack_columns(isa, depth.div_ceil(2), columns, &pairs, depth.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    fn halves(x: f32) -> [f32; 2] {
        [f32::from_bits(x.to_bits() << 16), f32::from_bits(x.to_bits() & 0xFFFF_0000)]
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        // bf16 has 8 significant bits: between 1 and 1 + 2⁻⁷ lies the tie 1 + 2⁻⁸.
        let (unit, tie) = (1.0 / 128.0, 1.0 / 256.0);
        for (x, expected) in [
            (1.0 + tie, 1.0),
            (1.0 + unit + tie, 1.0 + 2.0 * unit),
            (1.0 + tie * 1.01, 1.0 + unit),
            (-1.0 - tie * 0.99, -1.0),
            (3.0e38, 3.004_055_3e38),
            (f32::MAX, f32::INFINITY),
            (0.0, 0.0),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(halves(pair(x, -x)), [expected, -expected]);
        }
        assert!(halves(pair(f32::NAN, f32::from_bits(0x7F80_0001))).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn odd_lengths_are_filled_up_with_zeros() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        for isa in Isa::available() {
            let found: Vec<[f32; 2]> = pairs_of_columns(isa, &x, 3).iter().map(|&x| halves(x)).collect();
            assert_eq!(found, [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0], [7.0, 8.0], [9.0, 0.0]]);
            let found: Vec<[f32; 2]> = pairs_of_rows(isa, &x, 3).iter().map(|&x| halves(x)).collect();
            assert_eq!(found, [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0], [7.0, 0.0], [8.0, 0.0], [9.0, 0.0]]);
        }
    }

    /// What bf16 has of each number.
    fn rounded_all(x: &[f32]) -> Vec<f32> {
        x.iter().map(|&x| f32::from_bits(rounded(x) << 16)).collect()
    }

    #[track_caller]
    fn assert_close(got: &[f32], expected: &[f32]) {
        let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() <= 1e-5 * largest, "[{i}]: {got}, expected {expected}");
        }
        assert_eq!(got.len(), expected.len());
    }

    #[test]
    fn linear_maps_and_weight_gradients_are_those_of_rounded_operands() {
        let shapes = [(1, 1, 1), (77, 24, 40), (301, 33, 7), (64, 128, 96)];
        let tested = Isa::tested_bf16().into_iter().flat_map(|isa| shapes.map(|shape| (isa, shape)));
        for (isa, (rows, input, output)) in tested {
            let (x, w, b) = (numbers(rows * input, 1), numbers(input * output, 2), numbers(output, 3));
            let dy = numbers(rows * output, 4);
            let (rx, rw, rdy) = (rounded_all(&x), rounded_all(&w), rounded_all(&dy));
            use crate::linear::{backward_input, backward_weight, forward};
            assert_close(&forward(isa, &x, &w, &b, input), &forward(isa.f32(), &rx, &rw, &b, input));
            assert_close(&backward_input(isa, &dy, &w, input), &backward_input(isa.f32(), &rdy, &rw, input));
            assert_close(
                &backward_weight(isa, &x, &dy, input, output),
                &backward_weight(isa.f32(), &rx, &rdy, input, output),
            );
        }
    }

    #[test]
    fn convolutions_and_their_gradients_are_those_of_rounded_operands() {
        let shapes = [(1, 5, 3, 7, 1), (3, 8, 24, 16, 1), (2, 8, 4, 33, 2), (4, 4, 64, 64, 1)];
        let tested = Isa::tested_bf16().into_iter().flat_map(|isa| shapes.map(|shape| (isa, shape)));
        for (isa, (batch, side, input, output, stride)) in tested {
            let shape = crate::conv2d::Conv2dShape::three_by_three(batch, side, [input, output], stride);
            let (x, dy) = (numbers(batch * side * side * input, 1), numbers(shape.output_len(), 2));
            let (w, b) = (numbers(9 * input * output, 3), numbers(output, 4));
            let (rx, rw, rdy) = (rounded_all(&x), rounded_all(&w), rounded_all(&dy));
            use crate::conv2d::{backward_input, forward};
            // An odd number of channels has no pairs, and is not rounded.
            let (from, to) = (input.is_multiple_of(2), output.is_multiple_of(2));
            let expected = if from {
                forward(isa.f32(), &shape, &rx, &rw, &b)
            } else {
                forward(isa.f32(), &shape, &x, &w, &b)
            };
            assert_close(&forward(isa, &shape, &x, &w, &b), &expected);
            let expected = if to {
                backward_input(isa.f32(), &shape, &rdy, &rw)
            } else {
                backward_input(isa.f32(), &shape, &dy, &w)
            };
            assert_close(&backward_input(isa, &shape, &dy, &w), &expected);
            let expected =
                crate::conv2d::backward_weight(isa.f32(), &shape, &rounded_all(&x), &rounded_all(&dy));
            assert_close(&crate::conv2d::backward_weight(isa, &shape, &x, &dy), &expected);
        }
    }

    #[test]
    fn attention_is_that_of_rounded_operands_but_for_the_rounding_of_its_probabilities() {
        let shapes = [
            (1, 1, 1, 2, false),
            (70, 77, 2, 40, false),
            (9, 9, 3, 8, true),
            (130, 5, 1, 64, false),
            (70, 1101, 2, 8, false),
            (600, 600, 1, 8, true),
        ];
        let tested = Isa::tested_bf16().into_iter().flat_map(|isa| shapes.map(|shape| (isa, shape)));
        for (isa, (queries, keys, heads, head_width, causal)) in tested {
            let s = crate::attention::AttentionShape { queries, keys, heads, head_width, causal };
            let width = heads * head_width;
            let (q, k, v) =
                (numbers(2 * queries * width, 1), numbers(2 * keys * width, 2), numbers(2 * keys * width, 3));
            let rounded = [&q, &k, &v].map(|x| rounded_all(x));
            let [rq, rk, rv] = rounded.each_ref();
            let expected = crate::attention::forward(isa.f32(), &s, rq, rk, rv, 0).y;
            let got = crate::attention::forward(isa, &s, &q, &k, &v, 0).y;
            // A probability has 8 significant bits, and they sum to 1.
            for (got, expected) in got.iter().zip(expected.iter()) {
                assert!((got - expected).abs() < 1.0 / 256.0, "{got}, expected {expected}");
            }
        }
        // An odd width has no pairs.
        let s =
            crate::attention::AttentionShape { queries: 3, keys: 4, heads: 2, head_width: 5, causal: false };
        let (q, k) = (numbers(30, 1), numbers(40, 2));
        for isa in Isa::tested_bf16() {
            let exact = crate::attention::forward(isa.f32(), &s, &q, &k, &k, 0).y;
            assert_eq!(crate::attention::forward(isa, &s, &q, &k, &k, 0).y[..], exact[..]);
        }
    }
}
