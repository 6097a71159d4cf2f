//! The same functions from burn's own operations: what other backends run, and what the kernels are
//! tested against. Products are of numbers as the first argument has them; the others become so.

use crate::Padding;
use crate::activation::Activation;
use burn::tensor::activation::{sigmoid, silu, softmax};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, PadMode};
use burn::tensor::{DType, Tensor, TensorData, module};

/// See [`crate::conv2d`](fn@crate::conv2d).
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    let (weight, bias) = (weight.cast(x.dtype()), bias.cast(x.dtype()));
    let x = x.permute([0, 3, 1, 2]);
    let [[top, bottom], [left, right]] = padding;
    let even = top == bottom && left == right;
    let x = if even { x } else { x.pad((left, right, top, bottom), PadMode::Constant(0.0)) };
    let padding = if even { [top, left] } else { [0, 0] };
    let options = ConvOptions::new([stride; 2], padding, [1, 1], 1);
    module::conv2d(x, weight, Some(bias), options).permute([0, 2, 3, 1])
}

/// See [`crate::linear`](fn@crate::linear).
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    let (weight, bias) = (weight.cast(x.dtype()), bias.cast(x.dtype()));
    module::linear(x, weight.transpose(), Some(bias))
}

/// See [`crate::group_norm`](fn@crate::group_norm).
pub fn group_norm(
    x: Tensor<4>,
    shift: Option<Tensor<2>>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    with_silu: bool,
) -> Tensor<4> {
    let [b, h, w, c] = x.dims();
    let x = match shift {
        Some(shift) => x + shift.reshape([b, 1, 1, c]),
        None => x,
    };
    let per_group = c / groups;
    let grouped = x.clone().reshape([b, h * w, groups, per_group]);
    let mean = grouped.clone().mean_dim(3).mean_dim(1); // [B, 1, G, 1]
    let variance = (grouped - mean.clone()).square().mean_dim(3).mean_dim(1);
    let reciprocal_std = (variance + epsilon).sqrt().recip();
    let scale = reciprocal_std * gamma.reshape([1, 1, groups, per_group]);
    let shift = beta.reshape([1, 1, groups, per_group]) - mean * scale.clone();
    let y = x * scale.reshape([b, 1, 1, c]) + shift.reshape([b, 1, 1, c]);
    if with_silu { silu(y) } else { y }
}

/// See [`crate::layer_norm`](fn@crate::layer_norm).
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    module::layer_norm(x, gamma, Some(beta), epsilon)
}

/// See [`crate::rms_norm`](fn@crate::rms_norm).
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x * (mean_square + epsilon).sqrt().recip() * gamma.unsqueeze()
}

/// See [`crate::rotate_pairs`].
pub fn rotate_pairs(x: Tensor<3>, rotations: Tensor<2>) -> Tensor<3> {
    let ([b, l, width], [_, d]) = (x.dims(), rotations.dims());
    let x = x.reshape([b, l, width / d, d / 2, 2]);
    let rotations = rotations.reshape([1, l, 1, d / 2, 2]);
    let [x_0, x_1] = [0, 1].map(|i| x.clone().narrow(4, i, 1));
    let [cos, sin] = [0, 1].map(|i| rotations.clone().narrow(4, i, 1));
    let turned = vec![x_0.clone() * cos.clone() - x_1.clone() * sin.clone(), x_1 * cos + x_0 * sin];
    Tensor::cat(turned, 4).reshape([b, l, width])
}

/// See [`crate::geglu`](fn@crate::geglu).
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2] / 2;
    x.clone().narrow(2, 0, width) * gelu(x.narrow(2, width, width))
}

/// x·Φ(x) = x·(1 + erf(x/√2))/2. burn 0.22's own has the derivative of the approximation by tanh, 1e-3 beside it.
fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let twice_phi = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0;
    x * twice_phi * 0.5
}

/// See [`crate::activation`](fn@crate::activation).
pub fn activation<const D: usize>(x: Tensor<D>, f: Activation) -> Tensor<D> {
    match f {
        Activation::Gelu => gelu(x),
        Activation::QuickGelu => x.clone() * sigmoid(x * 1.702),
        // ½·(1 + tanh(u)) is the logistic function of 2·u, which keeps its digits where tanh comes close to −1.
        Activation::GeluTanh => {
            let cubic = x.clone() + x.clone() * x.clone() * x.clone() * 0.044_715;
            x * sigmoid(cubic * (2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2))
        }
    }
}

/// See [`crate::upsample_nearest`].
pub fn upsample_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size);
    module::interpolate(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// See [`crate::attention`](fn@crate::attention).
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let v = v.cast(q.dtype());
    weighed(probabilities(q, k, heads, causal), v)
}

/// See [`crate::attention_shown`].
pub fn attention_shown(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    shown: usize,
) -> (Tensor<3>, Tensor<4>) {
    let v = v.cast(q.dtype());
    let p = probabilities(q, k, heads, false);
    (weighed(p.clone(), v), p.narrow(1, 0, shown))
}

/// See [`crate::region_cross_entropy`](fn@crate::region_cross_entropy).
pub fn region_cross_entropy(
    probabilities: Tensor<4>,
    naming: Tensor<3>,
    covered: Tensor<3>,
    weights: Tensor<2>,
    certain: f32,
) -> Tensor<1> {
    let [b, _, cells, tokens] = probabilities.dims();
    let heads_mean = probabilities.mean_dim(1).reshape([b, cells, tokens]);
    let a = heads_mean.matmul(naming).clamp(certain, 1.0 - certain); // [B, N, O]
    let free = covered.clone().neg() + 1.0;
    let entropy = covered * a.clone().log() + free * (a.neg() + 1.0).log();
    (entropy * weights.unsqueeze_dim::<3>(1)).sum().neg()
}

/// P V of each head: `[B, N, heads·d]`.
fn weighed(p: Tensor<4>, v: Tensor<3>) -> Tensor<3> {
    let ([b, heads, n, _], width) = (p.dims(), v.dims()[2]);
    p.cast(v.dtype()).matmul(split_heads(v, heads)).swap_dims(1, 2).reshape([b, n, width])
}

/// softmax(Q Kᵀ/√d) of each head, in f32: `[B, heads, N, L]`.
fn probabilities(q: Tensor<3>, k: Tensor<3>, heads: usize, causal: bool) -> Tensor<4> {
    let ([_, n, width], l) = (q.dims(), k.dims()[1]);
    let (k, device) = (k.cast(q.dtype()), q.device());
    let scale = ((width / heads) as f64).powf(-0.5);
    // Scaling the queries, not the scores, touches d numbers a row and not L.
    let scores = (split_heads(q, heads) * scale).matmul(split_heads(k, heads).swap_dims(2, 3));
    let scores = scores.cast(DType::F32);
    let scores = if causal {
        let mask: Vec<f32> =
            (0..n * l).map(|i| if i % l > i / l { f32::NEG_INFINITY } else { 0.0 }).collect();
        scores + Tensor::from_data(TensorData::new(mask, [1, 1, n, l]), &device)
    } else {
        scores
    };
    softmax(scores, 3)
}

/// `[B, L, heads·d]` to `[B, heads, L, d]`.
fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, l, width] = x.dims();
    x.reshape([b, l, heads, width / heads]).swap_dims(1, 2)
}
