//! Products by tiles against f64, over shapes with every kind of edge; by the emulation on any machine, and by the
//! processor where it has tiles.

use super::permission;
use crate::attention::{self, AttentionShape};
use crate::conv2d::{self, Conv2dShape};
use crate::isa::Isa;
use crate::linear;
use crate::testing::numbers;

/// What bf16 has of a number: 1 of 256 of it may be lost.
fn rounded(x: f32) -> f64 {
    let pair = crate::bf16::pair(x, 0.0);
    f64::from(f32::from_bits(pair.to_bits() << 16))
}

/// Who multiplies tiles here.
fn tested() -> Vec<Isa> {
    let mut all = vec![Isa::AmxEmulated];
    match permission::request() {
        #[cfg(target_arch = "x86_64")]
        Ok(()) => all.push(Isa::Amx),
        _ => eprintln!("skipped, tiles of the processor itself: {}", permission::request().unwrap_err()),
    }
    all
}

/// A sum of products in f64, and the sum of their sizes.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    size: f64,
}

impl Sum {
    fn add(&mut self, x: f32, y: f32) {
        let product = rounded(x) * rounded(y);
        self.value += product;
        self.size += product.abs();
    }
}

/// Products of bf16 numbers are exact in f32. Each of them goes through at most 16 sums in the tile instruction, one with
/// its neighbours, and one for each step (and the bias): every sum loses 2⁻²⁴ of what it is, which is at most the size.
#[track_caller]
fn assert_sums(what: &str, got: &[f32], expected: &[Sum], depth: usize) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let sums = 16 + 1 + depth.div_ceil(32) + 1;
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*got) - expected.value).abs();
        let allowed = sums as f64 * 2f64.powi(-24) * expected.size;
        assert!(error <= allowed, "{what}, [{i}]: {got}, expected {} ± {allowed:e}", expected.value);
    }
}

/// One row, rows and columns that fill no tile, several stretches of the inner dimension, several blocks of rows.
const LINEAR: [[usize; 3]; 8] = [
    [1, 1, 1],
    [16, 32, 32],
    [33, 40, 50],
    [3, 31, 16],
    [20, 2500, 17],
    [200, 8, 70],
    [1100, 6, 5],
    [2100, 3, 33],
];

#[test]
fn linear_maps_and_their_gradients() {
    for (isa, [rows, input, output]) in tested().into_iter().flat_map(|isa| LINEAR.map(|shape| (isa, shape)))
    {
        let what = |of: &str| format!("{of} of {rows} × {input} → {output}, {isa:?}");
        let (x, w, b) = (numbers(rows * input, 1), numbers(input * output, 2), numbers(output, 3));
        let dy = numbers(rows * output, 4);
        let mut y: Vec<Sum> = (0..rows * output)
            .map(|i| f64::from(b[i % output]))
            .map(|value| Sum { value, size: value.abs() })
            .collect();
        let (mut dx, mut dw) = (vec![Sum::default(); x.len()], vec![Sum::default(); w.len()]);
        for (row, o) in (0..rows).flat_map(|row| (0..output).map(move |o| (row, o))) {
            for i in 0..input {
                y[row * output + o].add(x[row * input + i], w[o * input + i]);
                dx[row * input + i].add(dy[row * output + o], w[o * input + i]);
                dw[o * input + i].add(dy[row * output + o], x[row * input + i]);
            }
        }
        assert_sums(&what("y"), &linear::forward(isa, &x, &w, &b, input), &y, input);
        assert_sums(&what("dx"), &linear::backward_input(isa, &dy, &w, input), &dx, output);
        assert_sums(&what("dw"), &linear::backward_weight(isa, &x, &dy, input, output), &dw, rows);
    }
}

/// Batch, height, width, channels, kernel, stride, padding before and after.
type Convolution = (usize, [usize; 2], [usize; 2], [usize; 2], usize, [usize; 2]);

const CONVOLUTIONS: [Convolution; 9] = [
    (2, [5, 16], [40, 34], [3, 3], 1, [1, 1]),
    (3, [8, 8], [32, 64], [3, 3], 1, [1, 1]),
    (1, [3, 6], [6, 70], [3, 3], 1, [1, 1]),
    (2, [9, 7], [16, 24], [3, 3], 2, [1, 1]),
    // Padded after the last row and column only, as an autoencoder's.
    (1, [8, 6], [18, 10], [3, 3], 2, [0, 1]),
    (2, [7, 5], [4, 6], [1, 1], 2, [0, 0]),
    (1, [6, 9], [12, 8], [5, 2], 1, [2, 0]),
    // Pixels that no window meets.
    (1, [7, 8], [4, 4], [2, 1], 3, [0, 0]),
    // Several stretches of the inner dimension, forward and of the weights' gradient.
    (1, [36, 36], [240, 2], [3, 3], 1, [1, 1]),
];

fn shape(
    (batch, [height, width], [input, output], kernel, stride, [before, after]): Convolution,
) -> Conv2dShape {
    let out = |n: usize, kernel: usize| (n + before + after - kernel) / stride + 1;
    Conv2dShape {
        batch,
        height,
        width,
        input,
        output,
        kernel,
        stride,
        pad_begin: [before; 2],
        out_height: out(height, kernel[0]),
        out_width: out(width, kernel[1]),
    }
}

/// Every place of every window that lies inside of its picture: (pixel of x, pixel of y, place).
fn meetings(s: &Conv2dShape) -> Vec<[usize; 3]> {
    let mut all = Vec::new();
    for (n, y, x) in (0..s.batch * s.out_height * s.out_width)
        .map(|i| (i / (s.out_height * s.out_width), i / s.out_width % s.out_height, i % s.out_width))
    {
        for place in 0..s.kernel[0] * s.kernel[1] {
            let row = (y * s.stride + place / s.kernel[1])
                .checked_sub(s.pad_begin[0])
                .filter(|&row| row < s.height);
            let column =
                (x * s.stride + place % s.kernel[1]).checked_sub(s.pad_begin[1]).filter(|&x| x < s.width);
            if let (Some(row), Some(column)) = (row, column) {
                let from = (n * s.height + row) * s.width + column;
                all.push([from, (n * s.out_height + y) * s.out_width + x, place]);
            }
        }
    }
    all
}

#[test]
fn convolutions_and_their_gradients() {
    for (isa, s) in tested().into_iter().flat_map(|isa| CONVOLUTIONS.map(|s| (isa, shape(s)))) {
        let places = s.kernel[0] * s.kernel[1];
        let what = |of: &str| format!("{of} of {s:?}, {isa:?}");
        let (x, dy) = (numbers(s.batch * s.height * s.width * s.input, 1), numbers(s.output_len(), 2));
        let (w, b) = (numbers(places * s.input * s.output, 3), vec![0.0; s.output]);
        let mut y = vec![Sum::default(); dy.len()];
        let (mut dx, mut dw) = (vec![Sum::default(); x.len()], vec![Sum::default(); w.len()]);
        for [from, to, place] in meetings(&s) {
            for (o, i) in (0..s.output).flat_map(|o| (0..s.input).map(move |i| (o, i))) {
                let (at, x_at, y_at) =
                    ((o * s.input + i) * places + place, from * s.input + i, to * s.output + o);
                y[y_at].add(x[x_at], w[at]);
                dx[x_at].add(dy[y_at], w[at]);
                dw[at].add(dy[y_at], x[x_at]);
            }
        }
        assert_sums(&what("y"), &conv2d::forward(isa, &s, &x, &w, &b), &y, places * s.input);
        assert_sums(&what("dx"), &conv2d::backward_input(isa, &s, &dy, &w), &dx, places * s.output);
        let pixels = s.output_len() / s.output;
        assert_sums(&what("dw"), &conv2d::backward_weight(isa, &s, &x, &dy), &dw, pixels);
    }
}

/// The bits of all that a linear map, attention and convolutions give.
fn bits(isa: Isa) -> Vec<u32> {
    let (x, w, b) = (numbers(900 * 70, 1), numbers(70 * 90, 2), numbers(90, 3));
    let dy = numbers(900 * 90, 4);
    let mut all = vec![
        linear::forward(isa, &x, &w, &b, 70),
        linear::backward_input(isa, &dy, &w, 70),
        linear::backward_weight(isa, &x, &dy, 70, 90),
    ];
    let s = AttentionShape { queries: 70, keys: 77, heads: 2, head_width: 40, causal: false };
    let keys = numbers(77 * 80, 5);
    let attended = attention::forward(isa, &s, &x[..2 * 70 * 80], &keys.repeat(2), &dy[..2 * 77 * 80], 1);
    all.extend([attended.y, attended.shown]);
    for s in [CONVOLUTIONS[0], CONVOLUTIONS[3]].map(shape) {
        let (x, dy) = (numbers(s.batch * s.height * s.width * s.input, 1), numbers(s.output_len(), 2));
        let (w, b) = (numbers(9 * s.input * s.output, 3), numbers(s.output, 4));
        all.push(conv2d::forward(isa, &s, &x, &w, &b));
        all.push(conv2d::backward_input(isa, &s, &dy, &w));
        all.push(conv2d::backward_weight(isa, &s, &x, &dy));
    }
    all.iter().flat_map(|x| x.iter().map(|x| x.to_bits())).collect()
}

#[test]
fn neither_threads_nor_who_multiplies_changes_a_bit() {
    let run = |threads: usize, isa: Isa| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bits(isa))
    };
    let expected = run(1, Isa::AmxEmulated);
    for isa in tested() {
        for threads in [1, 2, 7] {
            assert!(run(threads, isa) == expected, "{isa:?}, {threads} threads");
        }
    }
}

/// The same operands by pairs of vectors: as close as two orders of one sum are.
#[cfg(target_arch = "x86_64")]
#[test]
fn vectors_of_pairs_give_nearly_the_same() {
    if !Isa::available_bf16().contains(&Isa::Avx512Bf16) {
        eprintln!("skipped: this processor has no AVX512-BF16");
        return;
    }
    let of = |isa| bits(isa).into_iter().map(f32::from_bits).collect::<Vec<f32>>();
    let vectors = of(Isa::Avx512Bf16);
    for isa in tested() {
        for (got, expected) in of(isa).iter().zip(&vectors) {
            // Two orders of at most 900 sums, none of which is above 30.
            assert!((got - expected).abs() <= 900.0 * 2f32.powi(-24) * 30.0, "{got}, expected {expected}");
        }
    }
}
