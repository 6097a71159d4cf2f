//! The kernels as burn operations with gradients.

mod activation;
mod add;
mod attention;
mod concat;
mod conv2d;
mod embedding;
mod fork;
mod geglu;
mod group_norm;
mod layer_norm;
mod layout;
mod linear;
mod mean_square;
mod region_cross_entropy;
mod rms_norm;
mod rotary;
mod rows;
mod saved;
mod upsample;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};
use burn::backend::ops::ModuleOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};

pub(crate) use self::attention::{Part, Shown};
pub(crate) use self::fork::Junction;
pub(crate) use self::layout::Channels;
use self::region_cross_entropy::Regions;
use crate::Products;
use crate::activation::Activation;
use crate::memory::Buffer;
use crate::rotary::Turn;

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
    fn kernel_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
    fn kernel_group_norm(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
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
    fn kernel_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;
    fn kernel_rotate(x: FloatTensor<Self>, rotations: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_upsample(x: FloatTensor<Self>, height: usize, width: usize) -> FloatTensor<Self>;
    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
        causal: bool,
        shown: Option<Shown>,
        products: Products,
    ) -> FloatTensor<Self>;
    fn kernel_attention_part(stem: FloatTensor<Self>, shown: Shown, part: Part) -> FloatTensor<Self>;
    fn kernel_region_cross_entropy(
        probabilities: FloatTensor<Self>,
        naming: FloatTensor<Self>,
        covered: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        certain: f32,
    ) -> FloatTensor<Self>;
    fn kernel_activation(x: FloatTensor<Self>, f: Activation) -> FloatTensor<Self>;
    fn kernel_add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_add_rows(x: FloatTensor<Self>, row: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_concat(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_mean_square(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    fn kernel_reorder(x: FloatTensor<Self>, to: Channels) -> FloatTensor<Self>;
    fn kernel_stem(x: FloatTensor<Self>, junction: Junction) -> FloatTensor<Self>;
    fn kernel_branch(stem: FloatTensor<Self>, junction: Junction) -> FloatTensor<Self>;
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
        conv2d::forward(&x, &weight, &bias, conv2d::shape(&x, &weight, stride, padding), products)
    }

    fn kernel_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, products: Products) -> FlexTensor {
        linear::forward(&x, &weight, &bias, products)
    }

    fn kernel_embedding(table: FlexTensor, ids: FlexTensor) -> FlexTensor {
        embedding::forward(table, ids)
    }

    fn kernel_group_norm(
        x: FlexTensor,
        shift: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        groups: usize,
        epsilon: f64,
        silu: bool,
    ) -> FlexTensor {
        group_norm::forward(&x, &shift, &gamma, &beta, group_norm::shape(&x, groups, epsilon, silu))
    }

    fn kernel_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        layer_norm::forward(&x, &gamma, &beta, epsilon)
    }

    fn kernel_rms_norm(x: FlexTensor, gamma: FlexTensor, epsilon: f64) -> FlexTensor {
        rms_norm::forward(&x, &gamma, epsilon)
    }

    fn kernel_rotate(x: FlexTensor, rotations: FlexTensor) -> FlexTensor {
        rotary::forward(&x, &rotations, Turn::Forward)
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
        shown: Option<Shown>,
        products: Products,
    ) -> FlexTensor {
        let shape = attention::shape(&q, &k, heads, causal);
        attention::forward([&q, &k, &v], shape, shown.as_ref(), products)
    }

    fn kernel_attention_part(stem: FlexTensor, shown: Shown, part: Part) -> FlexTensor {
        attention::part(stem, &shown, part)
    }

    fn kernel_region_cross_entropy(
        probabilities: FlexTensor,
        naming: FlexTensor,
        covered: FlexTensor,
        weights: FlexTensor,
        certain: f32,
    ) -> FlexTensor {
        region_cross_entropy::forward(&probabilities, &Regions::new(&naming, &covered, &weights), certain)
    }

    fn kernel_activation(x: FlexTensor, f: Activation) -> FlexTensor {
        activation::forward(&x, f)
    }

    fn kernel_add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        add::forward(a, b)
    }

    fn kernel_add_rows(x: FlexTensor, row: FlexTensor) -> FlexTensor {
        rows::forward(&x, &row)
    }

    fn kernel_concat(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        concat::forward(&a, &b)
    }

    fn kernel_mean_square(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        mean_square::forward(&a, &b)
    }

    fn kernel_reorder(x: FlexTensor, to: Channels) -> FlexTensor {
        layout::forward(&x, to)
    }

    fn kernel_stem(x: FlexTensor, _: Junction) -> FlexTensor {
        x
    }

    fn kernel_branch(stem: FlexTensor, _: Junction) -> FlexTensor {
        stem
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

    fn kernel_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        <Self as ModuleOps<Self>>::embedding(table, ids)
    }

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        epsilon: f64,
        silu: bool,
    ) -> FloatTensor<Self> {
        group_norm::differentiable::<C>([x, shift, gamma, beta], groups, epsilon, silu)
    }

    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::differentiable::<C>(x, gamma, beta, epsilon)
    }

    fn kernel_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        rms_norm::differentiable::<C>(x, gamma, epsilon)
    }

    fn kernel_rotate(x: FloatTensor<Self>, rotations: FloatTensor<Self>) -> FloatTensor<Self> {
        rotary::differentiable::<C>(x, rotations.into_primitive())
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
        shown: Option<Shown>,
        products: Products,
    ) -> FloatTensor<Self> {
        attention::differentiable::<C>([q, k, v], heads, causal, shown, products)
    }

    fn kernel_attention_part(stem: FloatTensor<Self>, shown: Shown, part: Part) -> FloatTensor<Self> {
        attention::branch::<C>(stem, shown, part)
    }

    fn kernel_region_cross_entropy(
        probabilities: FloatTensor<Self>,
        naming: FloatTensor<Self>,
        covered: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        certain: f32,
    ) -> FloatTensor<Self> {
        let [naming, covered, weights] = [naming, covered, weights].map(|x| x.into_primitive());
        let regions = Regions::new(&naming, &covered, &weights);
        region_cross_entropy::differentiable::<C>(probabilities, regions, certain)
    }

    fn kernel_activation(x: FloatTensor<Self>, f: Activation) -> FloatTensor<Self> {
        activation::differentiable::<C>(x, f)
    }

    fn kernel_add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        add::differentiable::<C>(a, b)
    }

    fn kernel_add_rows(x: FloatTensor<Self>, row: FloatTensor<Self>) -> FloatTensor<Self> {
        rows::differentiable::<C>(x, row)
    }

    fn kernel_concat(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        concat::differentiable::<C>(a, b)
    }

    fn kernel_mean_square(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        mean_square::differentiable::<C>(a, b)
    }

    fn kernel_reorder(x: FloatTensor<Self>, to: Channels) -> FloatTensor<Self> {
        layout::differentiable::<C>(x, to)
    }

    fn kernel_stem(x: FloatTensor<Self>, junction: Junction) -> FloatTensor<Self> {
        fork::stem::<C>(x, junction)
    }

    fn kernel_branch(stem: FloatTensor<Self>, junction: Junction) -> FloatTensor<Self> {
        fork::branch::<C>(stem, junction)
    }
}

/// `y` as what `operation` made of its `inputs`, for a backward pass that needs `state` and none of their numbers.
fn with_backward<C: CheckpointStrategy, B: Backward<Flex, N>, const N: usize>(
    operation: B,
    inputs: [NodeGuard; N],
    state: B::State,
    y: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>> {
    match operation.prepare::<C>(inputs).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, y),
        OpsKind::UnTracked(prepared) => prepared.finish(y),
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
