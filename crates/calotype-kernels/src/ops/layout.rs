//! The order of a picture's numbers as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, tensor, values, with_backward};
use crate::layout::transpose;

/// Where the channels of a picture lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// `[B, C, H, W]`.
    First,
    /// `[B, H, W, C]`.
    Last,
}

/// From the other order to that of `to`.
pub fn forward(x: &FlexTensor, to: Channels) -> FlexTensor {
    let x = contiguous(x);
    let shape = x.layout().shape();
    let (b, [first, second, third]) = (shape[0], [shape[1], shape[2], shape[3]]);
    match to {
        Channels::Last => tensor(transpose(values(&x), first, second * third), [b, second, third, first]),
        Channels::First => tensor(transpose(values(&x), first * second, third), [b, third, first, second]),
    }
}

#[derive(Debug)]
struct Reorder;

impl Backward<Flex, 1> for Reorder {
    /// The order before.
    type State = Channels;

    fn backward(self, ops: Ops<Channels, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let [node] = ops.parents;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, forward(&dy, ops.state));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    to: Channels,
) -> FloatTensor<Autodiff<Flex, C>> {
    let from = if to == Channels::Last { Channels::First } else { Channels::Last };
    let inputs = [x.node()];
    let y = forward(&x.into_primitive(), to);
    with_backward::<C, _, _>(Reorder, inputs, from, y)
}
