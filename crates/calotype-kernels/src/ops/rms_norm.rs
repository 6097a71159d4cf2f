//! Root mean square normalisation as a burn operation.

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
use crate::{Isa, rms_norm};

pub fn forward(x: &FlexTensor, gamma: &FlexTensor, epsilon: f64) -> FlexTensor {
    let (x, gamma) = (contiguous(x), contiguous(gamma));
    let y = rms_norm::forward(Isa::best(), values(&x), values(&gamma), epsilon as f32);
    tensor(y, x.layout().shape().clone())
}

#[derive(Debug)]
struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    type State = ([Saved; 2], f64);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (inputs, epsilon) = ops.state;
        let [x, gamma] = inputs.each_ref().map(Saved::value);
        let (dx, dgamma) =
            rms_norm::backward(Isa::best(), values(&x), values(&gamma), values(&dy), epsilon as f32);
        let [for_x, for_gamma] = ops.parents;
        if let Some(node) = for_x {
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
        if let Some(node) = for_gamma {
            gradients.register::<Flex>(node.id, tensor(dgamma, [last(&gamma)]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    gamma: FloatTensor<Autodiff<Flex, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<Flex, C>> {
    match RmsNorm.prepare::<C>([x.node(), gamma.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (x, gamma) = (x.into_primitive(), gamma.into_primitive());
            let (y, saved) = made([&x, &gamma], move |[x, gamma]| forward(x, gamma, epsilon));
            prepared.finish((saved, epsilon), y)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(forward(&x.into_primitive(), &gamma.into_primitive(), epsilon))
        }
    }
}
