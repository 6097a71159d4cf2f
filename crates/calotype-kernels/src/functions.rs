//! What networks call: a kernel where the device has them, burn's own operations elsewhere.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, module};

use crate::activation::Activation;
use crate::ops::{Channels, Junction, Kernels, Padding, Part, Shown};
use crate::{Products, composed, work};

/// Whether a device runs the kernels of this crate, which read weights as they are stored: the CPU backend. On every other
/// one the functions are composed of burn's operations.
pub fn has_kernels(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether a device multiplies so: [`Products::is_available`] on the CPU, elsewhere where it computes with such numbers.
pub fn has_products(device: &Device, products: Products) -> bool {
    if has_kernels(device) {
        return products.is_available();
    }
    products == Products::F32 || device.supports_dtype(DType::BF16)
}

/// `x` as an operand of composed products: in bf16 where that is asked for and there. Not in f16 where the device has that
/// alone, whose largest number, 65504, networks pass between their layers.
fn operand<const D: usize>(x: Tensor<D>, products: Products) -> Tensor<D> {
    let device = x.device();
    let rounds = products == Products::Bf16 && !has_kernels(&device) && has_products(&device, products);
    if rounds { x.cast(DType::BF16) } else { x }
}

/// Whether the kernels of this crate run on `x`: f32 on a device that has them.
fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && has_kernels(&x.device())
}

/// W ⋆ x + b with equal stride on both axes.
///
/// `x`: `[B, H, W, in]`, `weight`: `[out, in, k_h, k_w]`, `bias`: `[out]`. Returns `[B, H', W', out]` with
/// H' = (H + before + after − k_h)/stride + 1.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: Padding,
    products: Products,
) -> Tensor<4> {
    let outputs = |axis: usize| {
        let [before, after] = padding[axis];
        (x.dims()[1 + axis] + before + after - weight.dims()[2 + axis]) / stride + 1
    };
    work::add(&[&[x.dims()[0], outputs(0), outputs(1)][..], &weight.dims()].concat());
    if !takes(&x) {
        let dtype = x.dtype();
        return composed::conv2d(operand(x, products), weight, bias, stride, padding).cast(dtype);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_conv2d(x, weight, bias, stride, padding, products))
}

/// x Wᵀ + b over the last dimension. `weight`: `[out, in]`, `bias`: `[out]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    products: Products,
) -> Tensor<D> {
    work::add(&[x.shape().num_elements(), weight.dims()[0]]);
    if !takes(&x) {
        let dtype = x.dtype();
        return composed::linear(operand(x, products), weight, bias).cast(dtype);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_linear(x, weight, bias, products))
}

/// The rows of `table`, `[count, width]`, that `ids`, `[B, L]`, name; each is below the count. In f32, in whatever the
/// table is stored: `[B, L, width]`.
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if !has_kernels(&table.device()) {
        return module::embedding(table, ids).cast(DType::F32);
    }
    let (table, ids) = (table.into_dispatch(), ids.into_dispatch());
    Tensor::<3>::from_dispatch(Dispatch::kernel_embedding(table, ids)).cast(DType::F32)
}

/// Group normalisation of `[B, H, W, C]`, then SiLU if `silu`. `gamma`, `beta`: `[C]`. With a `shift`, `[B, C]`, that of
/// x + shift, where each channel of each picture has a shift of its own; the sum is never in memory.
pub fn group_norm(
    x: Tensor<4>,
    shift: Option<Tensor<2>>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Tensor<4> {
    if !takes(&x) {
        return composed::group_norm(x, shift, gamma, beta, groups, epsilon, silu);
    }
    let shift = shift.unwrap_or_else(|| Tensor::zeros([0, x.dims()[3]], &x.device()));
    let (x, shift) = (x.into_dispatch(), shift.into_dispatch());
    let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_group_norm(x, shift, gamma, beta, groups, epsilon, silu))
}

/// Layer normalisation of the last dimension. `gamma`, `beta`: `[D]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    if !takes(&x) {
        return composed::layer_norm(x, gamma, beta, epsilon);
    }
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_layer_norm(x, gamma, beta, epsilon))
}

/// x/√(mean(x²) + ε)·γ over the last dimension, of as many numbers as `gamma`. Zhang & Sennrich 2019, arXiv:1910.07467.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f64) -> Tensor<D> {
    if !takes(&x) {
        return composed::rms_norm(x, gamma, epsilon);
    }
    Tensor::from_dispatch(Dispatch::kernel_rms_norm(x.into_dispatch(), gamma.into_dispatch(), epsilon))
}

/// Turns the adjacent pairs of numbers of every head: (x₀, x₁) to (x₀·cos − x₁·sin, x₁·cos + x₀·sin). Su et al. 2021
/// (RoFormer), arXiv:2104.09864, Eq. 34.
///
/// `x`: `[B, L, heads·d]`; `rotations`: `[L, d]`, of pair i cos in column 2·i and sin in column 2·i + 1, constants
/// without a gradient.
pub fn rotate_pairs(x: Tensor<3>, rotations: Tensor<2>) -> Tensor<3> {
    assert_eq!(x.dims()[1], rotations.dims()[0], "a rotation for each token");
    assert!(x.dims()[2].is_multiple_of(rotations.dims()[1]), "heads of another width than the rotations");
    if !takes(&x) {
        return composed::rotate_pairs(x, rotations);
    }
    Tensor::from_dispatch(Dispatch::kernel_rotate(x.into_dispatch(), rotations.into_dispatch()))
}

/// a ⊙ GELU(b) of `[B, L, 2·D]` = `[a, b]`: `[B, L, D]`.
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    if !takes(&x) {
        return composed::geglu(x);
    }
    Tensor::from_dispatch(Dispatch::kernel_geglu(x.into_dispatch()))
}

/// `[B, H, W, C]` enlarged to `size` = `[H', W']` by repeating pixels.
pub fn upsample_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    if !takes(&x) {
        return composed::upsample_nearest(x, size);
    }
    Tensor::from_dispatch(Dispatch::kernel_upsample(x.into_dispatch(), size[0], size[1]))
}

/// softmax(Q Kᵀ/√d) V for each head. `q`: `[B, N, heads·d]`, `k`, `v`: `[B, L, heads·d]`; `causal`: query
/// i sees keys 0 to i. Returns `[B, N, heads·d]`.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
    products: Products,
) -> Tensor<3> {
    // Q Kᵀ and P V.
    work::add(&[2, q.shape().num_elements(), k.dims()[1]]);
    if !takes(&q) {
        let dtype = q.dtype();
        return composed::attention(operand(q, products), k, v, heads, causal).cast(dtype);
    }
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_attention(q, k, v, heads, causal, None, products))
}

/// [`attention`] without a mask, and softmax(Q Kᵀ/√d) of the first `shown` heads, at least one: `[B, shown, N, L]`.
/// Gradients go back from both.
pub fn attention_shown(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    shown: usize,
    products: Products,
) -> (Tensor<3>, Tensor<4>) {
    work::add(&[2, q.shape().num_elements(), k.dims()[1]]);
    if !takes(&q) {
        let dtype = q.dtype();
        let (y, probabilities) = composed::attention_shown(operand(q, products), k, v, heads, shown);
        return (y.cast(dtype), probabilities);
    }
    let (q, k, v, shown) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), Shown::first(shown));
    let stem = Dispatch::kernel_attention(q, k, v, heads, false, Some(shown.clone()), products);
    let y = Dispatch::kernel_attention_part(stem.clone(), shown.clone(), Part::Output);
    let p = Dispatch::kernel_attention_part(stem, shown, Part::Probabilities);
    (Tensor::from_dispatch(y), Tensor::from_dispatch(p))
}

/// Σ_b Σ_o w_bo Σ_n BCE(a_bo(n), m_bo(n)), `[1]`, where BCE(a, m) = −m·ln a − (1 − m)·ln(1 − a).
///
/// - `probabilities`: of attention, `[B, heads, N, L]`. a_bo(n) is what cell n of sample b pays to the tokens of region o,
///   a mean over the heads; nearer to 0 or 1 than `certain` it is right enough, and has no gradient.
/// - `naming`: 1 for the tokens of a region, 0 for others, `[B, L, O]`.
/// - `covered`: m, 0 to 1, `[B, N, O]`.
/// - `weights`: w, `[B, O]`; 0 where a sample has fewer regions.
pub fn region_cross_entropy(
    probabilities: Tensor<4>,
    naming: Tensor<3>,
    covered: Tensor<3>,
    weights: Tensor<2>,
    certain: f32,
) -> Tensor<1> {
    if !takes(&probabilities) {
        return composed::region_cross_entropy(probabilities, naming, covered, weights, certain);
    }
    let (p, naming) = (probabilities.into_dispatch(), naming.into_dispatch());
    let (covered, weights) = (covered.into_dispatch(), weights.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_region_cross_entropy(p, naming, covered, weights, certain))
}

/// f of every number.
pub fn activation<const D: usize>(x: Tensor<D>, f: Activation) -> Tensor<D> {
    if !takes(&x) {
        return composed::activation(x, f);
    }
    Tensor::from_dispatch(Dispatch::kernel_activation(x.into_dispatch(), f))
}

/// a + b, of one shape.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "sum of tensors of different shape");
    if !takes(&a) {
        return a + b;
    }
    Tensor::from_dispatch(Dispatch::kernel_add(a.into_dispatch(), b.into_dispatch()))
}

/// x + `row` for every sample: `x` is `[B, L, D]`, `row` `[L, D]`.
pub fn add_rows(x: Tensor<3>, row: Tensor<2>) -> Tensor<3> {
    assert_eq!(x.dims()[1..], row.dims(), "a row of another shape than those of the batch");
    if !takes(&x) {
        return x + row.unsqueeze::<3>();
    }
    Tensor::from_dispatch(Dispatch::kernel_add_rows(x.into_dispatch(), row.into_dispatch()))
}

/// Channels of `[B, H, W, C]` and `[B, H, W, C']` side by side: `[B, H, W, C + C']`.
pub fn concat(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    assert_eq!(a.dims()[..3], b.dims()[..3], "pictures of different size side by side");
    if !takes(&a) {
        return Tensor::cat(vec![a, b], 3);
    }
    Tensor::from_dispatch(Dispatch::kernel_concat(a.into_dispatch(), b.into_dispatch()))
}

/// Mean of (a − b)² over all numbers of two tensors of one shape: `[1]`.
pub fn mean_square_error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<1> {
    assert_eq!(a.dims(), b.dims(), "difference of tensors of different shape");
    if !takes(&a) {
        return (a - b).square().mean();
    }
    Tensor::from_dispatch(Dispatch::kernel_mean_square(a.into_dispatch(), b.into_dispatch()))
}

/// `[B, C, H, W]` to `[B, H, W, C]`.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    if !takes(&x) {
        return x.permute([0, 2, 3, 1]);
    }
    Tensor::from_dispatch(Dispatch::kernel_reorder(x.into_dispatch(), Channels::Last))
}

/// `[B, H, W, C]` to `[B, C, H, W]`.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    if !takes(&x) {
        return x.permute([0, 3, 1, 2]);
    }
    Tensor::from_dispatch(Dispatch::kernel_reorder(x.into_dispatch(), Channels::First))
}

/// `x` for each of `N` readers. The same as its clones; but a kernel sums their gradients, in the order in which the
/// backward pass finds them, where clones would leave it to burn.
pub fn fork<const D: usize, const N: usize>(x: Tensor<D>) -> [Tensor<D>; N] {
    if !takes(&x) || !x.is_tracked() {
        return std::array::from_fn(|_| x.clone());
    }
    let junction = Junction::default();
    let stem = Dispatch::kernel_stem(x.into_dispatch(), junction.clone());
    std::array::from_fn(|_| Tensor::from_dispatch(Dispatch::kernel_branch(stem.clone(), junction.clone())))
}
