//! Convolution as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::saved::Saved;
use super::{Padding, contiguous, tensor, values};
use crate::conv2d::{self, Conv2dShape};
use crate::stored::Weights;
use crate::sums::column_sums;
use crate::{Isa, Products, kept};

pub fn shape(x: &FlexTensor, weight: &FlexTensor, stride: usize, padding: Padding) -> Conv2dShape {
    let (x, weight) = (x.layout().shape(), weight.layout().shape());
    let out =
        |axis: usize| (x[1 + axis] + padding[axis][0] + padding[axis][1] - weight[2 + axis]) / stride + 1;
    Conv2dShape {
        batch: x[0],
        height: x[1],
        width: x[2],
        input: x[3],
        output: weight[0],
        kernel: [weight[2], weight[3]],
        stride,
        pad_begin: [padding[0][0], padding[1][0]],
        out_height: out(0),
        out_width: out(1),
    }
}

/// The packed weights are kept for the next pass, or the next share of a batch, if there is room.
pub fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    s: Conv2dShape,
    products: Products,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let isa = Isa::of(products);
    let pack = || conv2d::packed(isa, &s, Weights::of(&weight));
    let y = match kept::packed(isa, &weight, s.form(isa), pack) {
        Some(packed) => conv2d::forward_packed(isa, &s, values(&x), &packed, values(&bias)),
        None => conv2d::forward_grouped(isa, &s, values(&x), Weights::of(&weight), values(&bias)),
    };
    tensor(y, [s.batch, s.out_height, s.out_width, s.output])
}

#[derive(Debug)]
struct Conv2d;

impl Backward<Flex, 3> for Conv2d {
    /// The input is for the gradient of a weight that has one.
    type State = (Option<Saved>, NodeId, Conv2dShape, Products);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, weight, s, products) = ops.state;
        let weight = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(weight));
        let isa = Isa::of(products);
        let [for_x, for_weight, for_bias] = ops.parents;
        if let Some(node) = for_x {
            let dx = conv2d::backward_input(isa, &s, values(&dy), &Weights::of(&weight).widened(isa));
            gradients.register::<Flex>(node.id, tensor(dx, [s.batch, s.height, s.width, s.input]));
        }
        if let (Some(node), Some(x)) = (for_weight, x) {
            let dw = conv2d::backward_weight(isa, &s, values(&x.value()), values(&dy));
            gradients.register::<Flex>(node.id, tensor(dw, [s.output, s.input, s.kernel[0], s.kernel[1]]));
        }
        if let Some(node) = for_bias {
            gradients.register::<Flex>(node.id, tensor(column_sums(values(&dy), s.output), [s.output]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: FloatTensor<Autodiff<Flex, C>>,
    stride: usize,
    padding: Padding,
    products: Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), weight.node(), bias.node()];
    match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let (trains, kept_weight) = (weight.is_tracked(), prepared.checkpoint(&weight));
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            let s = shape(&x, &weight, stride, padding);
            let y = forward(&x, &weight, &bias.into_primitive(), s, products);
            prepared.finish((trains.then(|| Saved::of(&x)), kept_weight, s, products), y)
        }
        OpsKind::UnTracked(prepared) => {
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            let s = shape(&x, &weight, stride, padding);
            prepared.finish(forward(&x, &weight, &bias.into_primitive(), s, products))
        }
    }
}
