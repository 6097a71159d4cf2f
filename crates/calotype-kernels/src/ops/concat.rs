//! Channels side by side as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::saved::made;
use super::{contiguous, last, tensor, values, with_backward};
use crate::concat;

pub fn forward(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    let (a, b) = (contiguous(a), contiguous(b));
    let widths = [last(&a), last(&b)];
    let mut shape = a.layout().shape().to_vec();
    if let Some(width) = shape.last_mut() {
        *width += widths[1];
    }
    tensor(concat::forward(values(&a), values(&b), widths), shape)
}

#[derive(Debug)]
struct Concat;

impl Backward<Flex, 2> for Concat {
    /// Channels of each.
    type State = [usize; 2];

    fn backward(self, ops: Ops<[usize; 2], 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (da, db) = concat::backward(values(&dy), ops.state);
        for (node, (gradient, channels)) in ops.parents.into_iter().zip([da, db].into_iter().zip(ops.state)) {
            if let Some(node) = node {
                let mut shape = dy.layout().shape().to_vec();
                if let Some(width) = shape.last_mut() {
                    *width = channels;
                }
                gradients.register::<Flex>(node.id, tensor(gradient, shape));
            }
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    a: FloatTensor<Autodiff<Flex, C>>,
    b: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [a.node(), b.node()];
    let (a, b) = (a.into_primitive(), b.into_primitive());
    let (y, _) = made([&a, &b], |[a, b]| forward(a, b));
    with_backward::<C, _, _>(Concat, inputs, [last(&a), last(&b)], y)
}
