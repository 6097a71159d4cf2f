//! The linear map as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, last, tensor, values};
use crate::conv2d::Form;
use crate::linear;
use crate::stored::Weights;
use crate::sums::column_sums;
use crate::{Isa, Products, kept, quantised};

/// `keep`: the weights as the product reads them, for the next pass, if there is room.
pub fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    products: Products,
    keep: bool,
) -> FlexTensor {
    let (x, bias) = (contiguous(x), contiguous(bias));
    let (isa, input) = (Isa::of(products), last(&x));
    let (numbers, added) = (values(&x), values(&bias));
    let y = match quantised::of(weight) {
        Some(matrix) => matrix.linear(isa, numbers, added),
        None => {
            let weight = contiguous(weight);
            let pack = || linear::packed(isa, Weights::of(&weight), input);
            if keep {
                match kept::packed_if_kept(isa, &weight, Form::Linear, pack) {
                    Some(packed) => linear::forward_packed(isa, numbers, &packed, added, input),
                    None => linear::forward_grouped(isa, numbers, Weights::of(&weight), added, input),
                }
            } else {
                linear::forward_packed(isa, numbers, &pack(), added, input)
            }
        }
    };
    let mut shape = x.layout().shape().to_vec();
    if let Some(width) = shape.last_mut() {
        *width = last(&bias);
    }
    tensor(y, shape)
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 3> for Linear {
    type State = (NodeId, NodeId, Products);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, weight, products) = ops.state;
        let x = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(x));
        let weight = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(weight));
        let isa = Isa::of(products);
        let (input, output) = (last(&x), last(&dy));
        let [for_x, for_weight, for_bias] = ops.parents;
        if let Some(node) = for_x {
            let dx = linear::backward_input(isa, values(&dy), &Weights::of(&weight).widened(isa), input);
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
        if let Some(node) = for_weight {
            let dw = linear::backward_weight(isa, values(&x), values(&dy), input, output);
            gradients.register::<Flex>(node.id, tensor(dw, [output, input]));
        }
        if let Some(node) = for_bias {
            gradients.register::<Flex>(node.id, tensor(column_sums(values(&dy), output), [output]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: FloatTensor<Autodiff<Flex, C>>,
    products: Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), weight.node(), bias.node()];
    match Linear.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let kept = (prepared.checkpoint(&x), prepared.checkpoint(&weight));
            let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            prepared.finish((kept.0, kept.1, products), forward(&x, &weight, &bias, products, false))
        }
        OpsKind::UnTracked(prepared) => {
            let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            prepared.finish(forward(&x, &weight, &bias, products, true))
        }
    }
}
