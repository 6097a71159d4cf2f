//! Every kernel against burn's own operations, value and all gradients, over odd shapes.

mod common;

use burn::tensor::{DType, Tensor};
use calotype_kernels as kernels;
use calotype_kernels::Products::F32;
use calotype_kernels::{Activation, composed};
use common::{leaf, numbers};

fn assert_close<const D: usize>(what: &str, got: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let (got, expected) = (got.into_data(), expected.into_data());
    let expected: Vec<f32> = expected.iter::<f32>().collect();
    let scale = expected.iter().fold(1e-2f32, |m, x| m.max(x.abs()));
    for (i, (got, expected)) in got.iter::<f32>().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= 2e-5 * scale,
            "{what}[{i}]: expected {expected}, got {got} of {scale}"
        );
    }
}

/// Value and gradients of two functions of three leaves, under the same upstream gradient.
fn compare<const A: usize, const B: usize, const C: usize, const Y: usize>(
    what: &str,
    (a, b, c): (Tensor<A>, Tensor<B>, Tensor<C>),
    kernel: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<Y>,
    composed: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<Y>,
) {
    let run = |f: &dyn Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<Y>| {
        let y = f(a.clone(), b.clone(), c.clone());
        let upstream = numbers(y.dims(), 99).autodiff();
        let gradients = (y.clone() * upstream).sum().backward();
        (y.inner(), a.grad(&gradients), b.grad(&gradients), c.grad(&gradients))
    };
    let (got, expected) = (run(&kernel), run(&composed));
    assert_close(what, got.0, expected.0);
    // Without gradients the same kernel answers.
    let plain = kernel(a.clone().inner(), b.clone().inner(), c.clone().inner());
    assert_close(what, plain, kernel(a.clone(), b.clone(), c.clone()).inner());
    assert_gradients(&format!("{what}, gradient of input 0"), got.1, expected.1);
    assert_gradients(&format!("{what}, gradient of input 1"), got.2, expected.2);
    assert_gradients(&format!("{what}, gradient of input 2"), got.3, expected.3);
}

/// Where burn has no gradient, an operation of ours may have zeros: it gives one to all of its inputs.
fn assert_gradients<const D: usize>(what: &str, got: Option<Tensor<D>>, expected: Option<Tensor<D>>) {
    match (got, expected) {
        (Some(got), Some(expected)) => assert_close(what, got, expected),
        (Some(got), None) => assert!(got.into_data().iter::<f32>().all(|g| g == 0.0), "{what}: not burn's"),
        (None, expected) => assert!(expected.is_none(), "{what} is missing"),
    }
}

fn compare_conv2d(x: [usize; 4], output: usize, k: usize, stride: usize, padding: [usize; 2]) {
    compare(
        &format!("conv2d {x:?} → {output}, kernel {k}, stride {stride}, {padding:?}"),
        (leaf(x, 1), leaf([output, x[3], k, k], 2), leaf([output], 3)),
        |x, weight, bias| kernels::conv2d(x, weight, bias, stride, [padding; 2], F32),
        |x, weight, bias| composed::conv2d(x, weight, bias, stride, [padding; 2]),
    );
}

fn compare_linear(rows: usize, input: usize, output: usize) {
    compare(
        &format!("linear {rows}, {input} → {output}"),
        (leaf([1, rows, input], 1), leaf([output, input], 2), leaf([output], 3)),
        |x, weight, bias| kernels::linear(x, weight, bias, F32),
        composed::linear,
    );
}

fn compare_group_norm(x: [usize; 4], groups: usize, silu: bool) {
    compare(
        &format!("group norm {x:?}, {groups} groups, SiLU {silu}"),
        (leaf(x, 1), leaf([x[3]], 2), leaf([x[3]], 3)),
        |x, gamma, beta| kernels::group_norm(x, None, gamma, beta, groups, 1e-5, silu),
        |x, gamma, beta| composed::group_norm(x, None, gamma, beta, groups, 1e-5, silu),
    );
}

/// `n` queries on `l` keys.
fn compare_attention([b, n, l]: [usize; 3], heads: usize, d: usize, causal: bool) {
    compare(
        &format!("attention {b}×{n} on {l}, {heads} heads of {d}, causal {causal}"),
        (leaf([b, n, heads * d], 1), leaf([b, l, heads * d], 2), leaf([b, l, heads * d], 3)),
        |q, k, v| kernels::attention(q, k, v, heads, causal, F32),
        |q, k, v| composed::attention(q, k, v, heads, causal),
    );
}

#[test]
fn convolution() {
    // batch, height, width, in, out, kernel, stride, zeros before and after
    for (b, h, w, input, output, k, stride, padding) in [
        (1, 1, 1, 1, 1, 1, 1, [0, 0]),
        (1, 1, 1, 1, 1, 3, 1, [1, 1]),
        (2, 5, 7, 3, 4, 3, 1, [1, 1]),
        (3, 8, 8, 16, 16, 3, 1, [1, 1]),
        (9, 4, 4, 33, 17, 3, 1, [1, 1]),
        (2, 16, 16, 24, 48, 3, 2, [1, 1]),
        (2, 9, 7, 5, 6, 3, 2, [1, 1]),
        (2, 8, 8, 5, 6, 3, 2, [0, 1]),
        // Even sides and channels in eights: Winograd's form.
        (2, 6, 10, 24, 40, 3, 1, [1, 1]),
        (9, 4, 4, 32, 16, 3, 1, [1, 1]),
        (3, 8, 6, 64, 32, 3, 1, [1, 1]),
        (1, 2, 2, 8, 8, 3, 1, [1, 1]),
        (1, 6, 6, 4, 8, 1, 1, [0, 0]),
        (2, 6, 6, 4, 8, 1, 2, [0, 0]),
        (2, 8, 8, 3, 5, 4, 4, [0, 0]),
        (1, 7, 9, 2, 3, 5, 1, [2, 2]),
        (1, 6, 6, 2, 3, 3, 1, [0, 0]),
        // More than one band of rows.
        (1, 40, 50, 40, 8, 3, 1, [1, 1]),
        (1, 41, 50, 40, 8, 3, 2, [1, 1]),
    ] {
        compare_conv2d([b, h, w, input], output, k, stride, padding);
    }
}

#[test]
fn convolution_with_an_oblong_kernel() {
    for (k, padding, stride) in [
        ([1, 7], [[0, 0], [3, 3]], 1),
        ([7, 1], [[3, 3], [0, 0]], 1),
        ([3, 1], [[1, 1], [0, 0]], 2),
        ([2, 5], [[0, 1], [4, 0]], 1),
        ([3, 3], [[1, 1], [0, 0]], 1),
    ] {
        compare(
            &format!("conv2d with kernel {k:?}, stride {stride}, {padding:?}"),
            (leaf([2, 9, 10, 6], 1), leaf([11, 6, k[0], k[1]], 2), leaf([11], 3)),
            |x, weight, bias| kernels::conv2d(x, weight, bias, stride, padding, F32),
            |x, weight, bias| composed::conv2d(x, weight, bias, stride, padding),
        );
    }
}

#[test]
fn linear() {
    for (rows, input, output) in [(1, 1, 1), (77, 24, 40), (300, 33, 7), (5, 1, 100), (64, 128, 128)] {
        compare_linear(rows, input, output);
    }
}

#[test]
fn group_norm() {
    for (b, h, w, c, groups) in
        [(1, 1, 1, 2, 1), (2, 5, 3, 12, 4), (3, 8, 8, 32, 8), (1, 33, 9, 6, 6), (1, 70, 90, 6, 3)]
    {
        for silu in [false, true] {
            compare_group_norm([b, h, w, c], groups, silu);
        }
    }
}

#[test]
fn layer_norm() {
    for (rows, d) in [(1, 2), (77, 24), (130, 33), (4, 256)] {
        compare(
            &format!("layer norm {rows}×{d}"),
            (leaf([1, rows, d], 1), leaf([d], 2), leaf([d], 3)),
            |x, gamma, beta| kernels::layer_norm(x, gamma, beta, 1e-5),
            |x, gamma, beta| composed::layer_norm(x, gamma, beta, 1e-5),
        );
    }
}

#[test]
fn geglu() {
    for (rows, d) in [(1, 1), (77, 13), (130, 64)] {
        compare(
            &format!("geglu {rows}×{d}"),
            (leaf([1, rows, 2 * d], 1), leaf([1], 2), leaf([1], 3)),
            |x, _, _| kernels::geglu(x.mul_scalar(4.0)),
            |x, _, _| composed::geglu(x.mul_scalar(4.0)),
        );
    }
}

#[test]
fn upsample() {
    for (b, h, w, c, to) in
        [(1, 1, 1, 1, [2, 2]), (2, 3, 5, 7, [6, 10]), (2, 3, 4, 5, [5, 7]), (1, 4, 4, 3, [4, 4])]
    {
        compare(
            &format!("upsample {b}×{h}×{w}×{c} to {to:?}"),
            (leaf([b, h, w, c], 1), leaf([1], 2), leaf([1], 3)),
            |x, _, _| kernels::upsample_nearest(x, to),
            |x, _, _| composed::upsample_nearest(x, to),
        );
    }
}

#[test]
fn attention() {
    for (b, n, l, heads, d, causal) in [
        (1, 1, 1, 1, 1, false),
        (2, 16, 77, 4, 8, false),
        (3, 130, 24, 2, 5, false),
        (2, 77, 77, 3, 16, true),
        (1, 9, 9, 1, 33, true),
        // Keys in several blocks.
        (1, 70, 1100, 2, 8, false),
        (1, 600, 600, 2, 4, true),
    ] {
        compare_attention([b, n, l], heads, d, causal);
    }
}

/// What attention gives: its output, the probabilities of its first heads, or both in one row.
#[derive(Debug, Clone, Copy)]
enum Read {
    Output,
    Probabilities,
    Both,
}

/// `n` queries on `l` keys; the first `shown` heads are.
fn compare_attention_shown([b, n, l]: [usize; 3], heads: usize, shown: usize, d: usize, read: Read) {
    let read_of = |(y, p): (Tensor<3>, Tensor<4>)| -> Tensor<1> {
        assert_eq!((y.dims(), p.dims()), ([b, n, heads * d], [b, shown, n, l]));
        let (y, p) = (y.flatten(0, 2), p.flatten(0, 3));
        match read {
            Read::Output => y,
            Read::Probabilities => p,
            Read::Both => Tensor::cat(vec![p, y], 0),
        }
    };
    compare(
        &format!("attention {b}×{n} on {l}, {shown} of {heads} heads of {d} shown, {read:?} read"),
        (leaf([b, n, heads * d], 1), leaf([b, l, heads * d], 2), leaf([b, l, heads * d], 3)),
        |q, k, v| read_of(kernels::attention_shown(q, k, v, heads, shown, F32)),
        |q, k, v| read_of(composed::attention_shown(q, k, v, heads, shown)),
    );
}

#[test]
fn attention_that_shows_its_probabilities() {
    for read in [Read::Output, Read::Probabilities, Read::Both] {
        for (b, n, l, heads, shown, d) in
            [(1, 1, 1, 1, 1, 1), (2, 16, 77, 4, 2, 8), (3, 130, 24, 2, 1, 5), (2, 64, 24, 4, 4, 16)]
        {
            compare_attention_shown([b, n, l], heads, shown, d, read);
        }
    }
    let mut draw = Draw(4);
    for _ in 0..30 {
        let (b, heads, d) = (draw.from(1, 3), draw.from(1, 4), draw.from(1, 40));
        let (n, l, shown) = (draw.from(1, 100), draw.from(1, 100), draw.from(1, heads));
        compare_attention_shown([b, n, l], heads, shown, d, Read::Both);
    }
}

#[test]
fn region_cross_entropy() {
    for (b, heads, cells, tokens, regions) in [(1, 1, 1, 1, 1), (3, 2, 33, 7, 2), (2, 3, 16, 24, 5)] {
        // What a sample does not have has no weight; a region may have several tokens, and tokens several regions.
        let weights = numbers([b, regions], 7).clamp_min(0.0);
        let naming = numbers([b, tokens, regions], 8).greater_elem(0.2).float();
        let covered = numbers([b, cells, regions], 9).clamp(-0.5, 0.5) + 0.5;
        let (weights, naming, covered) = (weights.autodiff(), naming.autodiff(), covered.autodiff());
        // Sums to more than 1 are certain, as are those of small probabilities.
        let p = numbers([b, heads, cells, tokens], 1).abs()
            * 0.4
            * numbers([b, heads, cells, 1], 2).clamp_min(0.0);
        compare(
            &format!("region cross-entropy {b}×{heads}×{cells}×{tokens}, {regions} regions"),
            (p.autodiff().require_grad(), leaf([1], 2), leaf([1], 3)),
            |p, _, _| {
                let (naming, covered, weights) = (naming.clone(), covered.clone(), weights.clone());
                kernels::region_cross_entropy(p, naming, covered, weights, 1e-2)
            },
            |p, _, _| {
                let (naming, covered, weights) = (naming.clone(), covered.clone(), weights.clone());
                composed::region_cross_entropy(p, naming, covered, weights, 1e-2)
            },
        );
    }
}

#[test]
fn group_norm_of_a_shifted_picture() {
    for (b, h, w, c, groups) in [(1, 1, 2, 8, 2), (2, 5, 3, 12, 4), (3, 8, 8, 32, 8), (1, 33, 9, 6, 3)] {
        for silu in [false, true] {
            compare(
                &format!("group norm {b}×{h}×{w}×{c} shifted, {groups} groups, SiLU {silu}"),
                (leaf([b, h, w, c], 1), leaf([b, c], 2), leaf([c], 3)),
                |x, shift, gamma| {
                    let beta = gamma.clone();
                    kernels::group_norm(x, Some(shift), gamma, beta, groups, 1e-5, silu)
                },
                |x, shift, gamma| {
                    let beta = gamma.clone();
                    composed::group_norm(x, Some(shift), gamma, beta, groups, 1e-5, silu)
                },
            );
        }
    }
}

#[test]
fn rms_norm() {
    for (rows, width) in [(1, 1), (3, 5), (130, 16), (77, 128), (200, 33)] {
        compare(
            &format!("RMS norm {rows}×{width}"),
            (leaf([2, rows, width], 1), leaf([width], 2), leaf([1], 3)),
            |x, gamma, _| kernels::rms_norm(x, gamma, 1e-6),
            |x, gamma, _| composed::rms_norm(x, gamma, 1e-6),
        );
    }
}

#[test]
fn rotated_pairs() {
    for (b, l, heads, d) in [(1, 1, 1, 2), (2, 5, 3, 16), (3, 77, 2, 12), (1, 200, 4, 128)] {
        let rotations = || numbers([l, d], 7);
        compare(
            &format!("rotation of {b}×{l}×{heads}·{d}"),
            (leaf([b, l, heads * d], 1), leaf([1], 2), leaf([1], 3)),
            |x: Tensor<3>, _, _| {
                let rotations = if x.is_tracked() { rotations().autodiff() } else { rotations() };
                kernels::rotate_pairs(x, rotations)
            },
            |x: Tensor<3>, _, _| composed::rotate_pairs(x, rotations().autodiff()),
        );
    }
}

#[test]
fn activations() {
    for f in [Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh] {
        for shape in [[1, 1, 1], [3, 77, 13], [2, 33, 128]] {
            compare(
                &format!("{f:?} of {shape:?}"),
                (leaf(shape, 1), leaf([1], 2), leaf([1], 3)),
                |x, _, _| kernels::activation(x.mul_scalar(6.0), f),
                |x, _, _| composed::activation(x.mul_scalar(6.0), f),
            );
        }
    }
}

#[test]
fn concatenation() {
    for (b, h, w, of_a, of_b) in [(1, 1, 1, 1, 1), (2, 5, 7, 3, 4), (3, 9, 8, 96, 31), (1, 64, 33, 8, 24)] {
        compare(
            &format!("{b}×{h}×{w}×({of_a} + {of_b})"),
            (leaf([b, h, w, of_a], 1), leaf([b, h, w, of_b], 2), leaf([1], 3)),
            |x, y, _| kernels::concat(x, y),
            |x, y, _| Tensor::cat(vec![x, y], 3),
        );
    }
}

#[test]
fn mean_square_error() {
    for shape in [[1, 1, 1], [3, 77, 13], [2, 300, 96]] {
        compare(
            &format!("mean squared error of {shape:?}"),
            (leaf(shape, 1), leaf(shape, 2), leaf([1], 3)),
            |a, b, _| kernels::mean_square_error(a, b) * 3.0,
            |a, b, _| (a - b).square().mean() * 3.0,
        );
    }
}

/// Inputs up to 1e4 give no NaN.
#[test]
fn large_numbers_stay_finite() {
    let large = |shape| numbers::<3>(shape, 5).mul_scalar(1e4);
    let finite = |what: &str, y: Tensor<3>| {
        assert!(y.into_data().iter::<f32>().all(f32::is_finite), "{what}");
    };
    finite(
        "attention",
        kernels::attention(large([1, 9, 8]), large([1, 7, 8]), large([1, 7, 8]), 2, false, F32),
    );
    finite("geglu", kernels::geglu(large([1, 9, 8])));
    let (gamma, beta) = (numbers([8], 1), numbers([8], 2));
    finite("layer norm", kernels::layer_norm(large([1, 9, 8]), gamma.clone(), beta.clone(), 1e-5));
    let x = large([1, 9, 8]).reshape([1, 3, 3, 8]);
    finite("group norm", kernels::group_norm(x, None, gamma, beta, 2, 1e-5, true).reshape([1, 9, 8]));
}

/// Numbers from 0 to below `n`, the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn from(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last + 1 - first)
    }
}

#[test]
fn convolutions_of_any_shape() {
    let mut draw = Draw(1);
    for _ in 0..60 {
        let (k, stride) = ([1, 2, 3, 3, 3, 5][draw.below(6)], draw.from(1, 2));
        let padding = [draw.below(k / 2 + 1), draw.below(k / 2 + 1)];
        let (h, w) = (draw.from(k, 13), draw.from(k, 13));
        let (b, input, output) = (draw.from(1, 4), draw.from(1, 40), draw.from(1, 40));
        compare_conv2d([b, h, w, input], output, k, stride, padding);
    }
}

#[test]
fn linear_maps_and_norms_of_any_shape() {
    let mut draw = Draw(2);
    for _ in 0..40 {
        let (rows, input, output) = (draw.from(1, 200), draw.from(1, 100), draw.from(1, 100));
        compare_linear(rows, input, output);
        let (groups, per_group, silu) = (draw.from(1, 8), draw.from(2, 7), draw.below(2) == 1);
        let (b, h, w, c) = (draw.from(1, 3), draw.from(2, 9), draw.from(1, 9), groups * per_group);
        compare_group_norm([b, h, w, c], groups, silu);
    }
}

#[test]
fn attention_of_any_shape() {
    let mut draw = Draw(3);
    for _ in 0..40 {
        let (b, heads, d) = (draw.from(1, 3), draw.from(1, 4), draw.from(1, 40));
        let causal = draw.below(3) == 0;
        let n = draw.from(1, 100);
        let l = if causal { n } else { draw.from(1, 100) };
        compare_attention([b, n, l], heads, d, causal);
    }
}

/// What a device that multiplies in bf16 is given, and gives: each number has 8 bits, and a sum of products more.
#[test]
fn composed_products_of_bf16_numbers_are_those_of_f32_within_their_bits() {
    #[track_caller]
    fn assert_near<const D: usize>(got: Tensor<D>, expected: Tensor<D>) {
        assert_eq!((got.dtype(), got.dims()), (DType::BF16, expected.dims()));
        let largest: f32 = expected.clone().abs().max().into_scalar();
        let difference: f32 = (got.cast(DType::F32) - expected).abs().max().into_scalar();
        assert!(difference > 0.0 && difference < 0.02 * largest, "{difference} of {largest}");
    }
    let (x, weight, bias) = (numbers([2, 9, 24], 1), numbers([16, 24], 2), numbers([16], 3));
    let linear = |dtype| composed::linear(x.clone().cast(dtype), weight.clone(), bias.clone());
    assert_near(linear(DType::BF16), linear(DType::F32));

    let (picture, kernels) = (numbers([1, 6, 5, 8], 4), numbers([16, 8, 3, 3], 5));
    let conv2d =
        |dtype| composed::conv2d(picture.clone().cast(dtype), kernels.clone(), bias.clone(), 1, [[1, 1]; 2]);
    assert_near(conv2d(DType::BF16), conv2d(DType::F32));

    let [q, k, v] = [6, 7, 8].map(|seed| numbers([2, 9, 24], seed));
    let attention = |dtype| composed::attention_shown(q.clone().cast(dtype), k.clone(), v.clone(), 3, 2);
    let ((got, shown), (expected, exact)) = (attention(DType::BF16), attention(DType::F32));
    assert_near(got, expected);
    // The softmax is in f32: rows sum to 1.
    assert_near(shown.clone().cast(DType::BF16), exact);
    let off: f32 = (shown.sum_dim(3) - 1.0).abs().max().into_scalar();
    assert!(off < 1e-6, "{off}");
}

#[test]
fn kept_weights_are_those_of_the_tensor_that_is_there_now() {
    let x = numbers([1, 40, 24], 1);
    let bias = numbers([16], 2);
    // Each round makes and frees a weight of the same size, which may lie where the last one lay.
    for round in 0..20 {
        let weight = numbers([16, 24], 10 + round);
        for _ in 0..2 {
            let got = kernels::linear(x.clone(), weight.clone(), bias.clone(), F32);
            assert_close("linear", got, composed::linear(x.clone(), weight.clone(), bias.clone()));
        }
        // Written to in place by burn, if it may.
        let doubled = weight.mul_scalar(2.0);
        let got = kernels::linear(x.clone(), doubled.clone(), bias.clone(), F32);
        assert_close("linear of doubled weights", got, composed::linear(x.clone(), doubled, bias.clone()));
    }
}
