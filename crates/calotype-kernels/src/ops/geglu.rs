//! The gate as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::saved::{Saved, made};
use super::{contiguous, last, tensor, values};
use crate::Isa;
use crate::geglu;

pub fn forward(x: &FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let d = last(&x) / 2;
    let mut shape = x.layout().shape().to_vec();
    if let Some(width) = shape.last_mut() {
        *width = d;
    }
    tensor(geglu::forward(Isa::best(), values(&x), d), shape)
}

#[derive(Debug)]
struct Geglu;

impl Backward<Flex, 1> for Geglu {
    type State = Saved;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let x = ops.state.value();
        let [for_x] = ops.parents;
        if let Some(node) = for_x {
            let dx = geglu::backward(Isa::best(), values(&x), values(&dy), last(&dy));
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Geglu.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (y, [saved]) = made([&x.into_primitive()], |[x]| forward(x));
            prepared.finish(saved, y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(&x.into_primitive())),
    }
}
