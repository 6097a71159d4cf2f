//! Enlargement as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::saved::made;
use super::{contiguous, tensor, values, with_backward};
use crate::upsample::{self, UpsampleShape};

fn shape(x: &FlexTensor, to: [usize; 2]) -> UpsampleShape {
    let shape = x.layout().shape();
    UpsampleShape { from: [shape[1], shape[2]], to, channels: shape[3] }
}

pub fn forward(x: &FlexTensor, to: [usize; 2]) -> FlexTensor {
    let s = shape(x, to);
    let x = contiguous(x);
    tensor(upsample::forward(&s, values(&x)), [x.layout().shape()[0], to[0], to[1], s.channels])
}

#[derive(Debug)]
struct Upsample;

impl Backward<Flex, 1> for Upsample {
    /// Pictures and their shape.
    type State = (usize, UpsampleShape);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (pictures, s) = ops.state;
        let [for_x] = ops.parents;
        if let Some(node) = for_x {
            let dx = upsample::backward(&s, values(&dy));
            gradients.register::<Flex>(node.id, tensor(dx, [pictures, s.from[0], s.from[1], s.channels]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    to: [usize; 2],
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [x.node()];
    let x = x.into_primitive();
    let state = (x.layout().shape()[0], shape(&x, to));
    let (y, _) = made([&x], move |[x]| forward(x, to));
    with_backward::<C, _, _>(Upsample, inputs, state, y)
}
