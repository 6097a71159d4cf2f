//! The kernels as burn operations with gradients.

mod attention;
mod conv2d;
mod geglu;
mod group_norm;
mod layer_norm;
mod linear;
mod upsample;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

use crate::memory::Buffer;
use crate::{Products, composed, work};

/// Zeros before and after the rows, and before and after the columns.
pub type Padding = [[usize; 2]; 2];

/// What a backend with kernels of its own has. Shapes as in the functions of the same names.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: Padding,
        products: Products,
    ) -> FloatTensor<Self>;
    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self>;
    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        epsilon: f64,
        silu: bool,
    ) -> FloatTensor<Self>;
    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    fn kernel_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_upsample(x: FloatTensor<Self>, height: usize, width: usize) -> FloatTensor<Self>;
    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
        causal: bool,
        products: Products,
    ) -> FloatTensor<Self>;
}

/// Whether a device runs the kernels of this crate, which read weights as they are stored and have [`Products`] of
/// bf16: the CPU backend. On every other one the functions are composed of burn's operations, in f32.
pub fn has_kernels(device: &Device) -> bool {
    *device == Device::flex()
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
        return composed::conv2d(x, weight, bias, stride, padding);
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
        return composed::linear(x, weight, bias);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_linear(x, weight, bias, products))
}

/// Group normalisation of `[B, H, W, C]`, then SiLU if `silu`. `gamma`, `beta`: `[C]`.
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Tensor<4> {
    if !takes(&x) {
        return composed::group_norm(x, gamma, beta, groups, epsilon, silu);
    }
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_group_norm(x, gamma, beta, groups, epsilon, silu))
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
        return composed::attention(q, k, v, heads, causal);
    }
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_attention(q, k, v, heads, causal, products))
}

impl Kernels for Flex {
    fn kernel_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: usize,
        padding: Padding,
        products: Products,
    ) -> FlexTensor {
        conv2d::forward(&x, &weight, &bias, conv2d::shape(&x, &weight, stride, padding), products, true)
    }

    fn kernel_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, products: Products) -> FlexTensor {
        linear::forward(&x, &weight, &bias, products, true)
    }

    fn kernel_group_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        groups: usize,
        epsilon: f64,
        silu: bool,
    ) -> FlexTensor {
        group_norm::forward(&x, &gamma, &beta, group_norm::shape(&x, groups, epsilon, silu))
    }

    fn kernel_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        layer_norm::forward(&x, &gamma, &beta, epsilon)
    }

    fn kernel_geglu(x: FlexTensor) -> FlexTensor {
        geglu::forward(&x)
    }

    fn kernel_upsample(x: FlexTensor, height: usize, width: usize) -> FlexTensor {
        upsample::forward(&x, [height, width])
    }

    fn kernel_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        heads: usize,
        causal: bool,
        products: Products,
    ) -> FlexTensor {
        attention::forward(&q, &k, &v, attention::shape(&q, &k, heads, causal), products)
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: Padding,
        products: Products,
    ) -> FloatTensor<Self> {
        conv2d::differentiable::<C>(x, weight, bias, stride, padding, products)
    }

    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self> {
        linear::differentiable::<C>(x, weight, bias, products)
    }

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        epsilon: f64,
        silu: bool,
    ) -> FloatTensor<Self> {
        group_norm::differentiable::<C>(x, gamma, beta, groups, epsilon, silu)
    }

    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::differentiable::<C>(x, gamma, beta, epsilon)
    }

    fn kernel_geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        geglu::differentiable::<C>(x)
    }

    fn kernel_upsample(x: FloatTensor<Self>, height: usize, width: usize) -> FloatTensor<Self> {
        upsample::differentiable::<C>(x, [height, width])
    }

    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
        causal: bool,
        products: Products,
    ) -> FloatTensor<Self> {
        attention::differentiable::<C>(q, k, v, heads, causal, products)
    }
}

/// The tensor's numbers, row-major; a copy only where it was strided.
fn contiguous(x: &FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

/// The numbers of a tensor that [`contiguous`] made.
fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>().expect("contiguous f32, see `takes`")
}

fn tensor(values: impl Into<Buffer>, shape: impl Into<Shape>) -> FlexTensor {
    let values: Buffer = values.into();
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape.into()), DType::F32)
}

fn last(x: &FlexTensor) -> usize {
    let shape = x.layout().shape();
    shape[shape.num_dims() - 1]
}
