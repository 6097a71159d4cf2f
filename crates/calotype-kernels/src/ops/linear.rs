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

use super::saved::Saved;
use super::{contiguous, last, tensor, values};
use crate::conv2d::Form;
use crate::linear;
use crate::stored::Weights;
use crate::sums::column_sums;
use crate::{Isa, Products, kept, quantised};

/// The weights as the product reads them are kept for the next pass, or the next share of a batch, if there is room.
pub fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, products: Products) -> FlexTensor {
    let (x, bias) = (contiguous(x), contiguous(bias));
    let (isa, input) = (Isa::of(products), last(&x));
    let (numbers, added) = (values(&x), values(&bias));
    let y = match quantised::of(weight) {
        Some(matrix) => matrix.linear(isa, numbers, added),
        None => {
            let weight = contiguous(weight);
            let pack = || linear::packed(isa, Weights::of(&weight), input);
            match kept::packed(isa, &weight, Form::Linear, pack) {
                Some(packed) => linear::forward_packed(isa, numbers, &packed, added, input),
                None => linear::forward_grouped(isa, numbers, Weights::of(&weight), added, input),
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
    /// The input is for the gradient of a weight that has one.
    type State = (Option<Saved>, NodeId, Products);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, weight, products) = ops.state;
        let weight = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(weight));
        let isa = Isa::of(products);
        let (input, output) = (last(&weight), last(&dy));
        let [for_x, for_weight, for_bias] = ops.parents;
        if let Some(node) = for_x {
            let dx = linear::backward_input(isa, values(&dy), &Weights::of(&weight).widened(isa), input);
            let mut shape = dy.layout().shape().to_vec();
            if let Some(width) = shape.last_mut() {
                *width = input;
            }
            gradients.register::<Flex>(node.id, tensor(dx, shape));
        }
        if let (Some(node), Some(x)) = (for_weight, x) {
            let dw = linear::backward_weight(isa, values(&x.value()), values(&dy), input, output);
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
            let (trains, kept_weight) = (weight.is_tracked(), prepared.checkpoint(&weight));
            let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            let y = forward(&x, &weight, &bias, products);
            prepared.finish((trains.then(|| Saved::of(&x)), kept_weight, products), y)
        }
        OpsKind::UnTracked(prepared) => {
            let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            prepared.finish(forward(&x, &weight, &bias, products))
        }
    }
}
