//! Rotary positions as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, last, tensor, values, with_backward};
use crate::Isa;
use crate::rotary::{self, Turn};

pub fn forward(x: &FlexTensor, rotations: &FlexTensor, turn: Turn) -> FlexTensor {
    let (x, rotations) = (contiguous(x), contiguous(rotations));
    let (width, d) = (last(&x), last(&rotations));
    let y = rotary::rotate(Isa::best(), values(&x), width, values(&rotations), d, turn);
    tensor(y, x.layout().shape().clone())
}

#[derive(Debug)]
struct Rotate;

impl Backward<Flex, 1> for Rotate {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let [node] = ops.parents;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, forward(&dy, &ops.state, Turn::Back));
        }
    }
}

/// `rotations` are constants.
pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    rotations: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [x.node()];
    let y = forward(&x.into_primitive(), &rotations, Turn::Forward);
    with_backward::<C, _, _>(Rotate, inputs, rotations, y)
}
