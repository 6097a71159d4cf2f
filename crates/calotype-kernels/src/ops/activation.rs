//! Activation functions as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::saved::Saved;
use super::{contiguous, tensor, values};
use crate::Isa;
use crate::activation::{self, Activation};

pub fn forward(x: &FlexTensor, f: Activation) -> FlexTensor {
    let x = contiguous(x);
    tensor(activation::forward(Isa::best(), f, values(&x)), x.layout().shape().clone())
}

#[derive(Debug)]
struct Activate;

impl Backward<Flex, 1> for Activate {
    type State = (Saved, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, f) = ops.state;
        let x = x.value();
        let [node] = ops.parents;
        if let Some(node) = node {
            let dx = activation::backward(Isa::best(), f, values(&x), values(&dy));
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    f: Activation,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Activate.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let x = x.into_primitive();
            let y = forward(&x, f);
            prepared.finish((Saved::of(&x), f), y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(&x.into_primitive(), f)),
    }
}
