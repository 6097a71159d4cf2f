//! Layer normalisation as a burn operation.

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
use crate::layer_norm;

pub fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, epsilon: f64) -> FlexTensor {
    let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
    let y = layer_norm::forward(Isa::best(), values(&x), values(&gamma), values(&beta), epsilon as f32);
    tensor(y, x.layout().shape().clone())
}

#[derive(Debug)]
struct LayerNorm;

impl Backward<Flex, 3> for LayerNorm {
    type State = ([Saved; 3], f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (inputs, epsilon) = ops.state;
        let [x, gamma, _] = inputs.each_ref().map(Saved::value);
        let (dx, dgamma, dbeta) =
            layer_norm::backward(Isa::best(), values(&x), values(&gamma), values(&dy), epsilon as f32);
        let [for_x, for_gamma, for_beta] = ops.parents;
        if let Some(node) = for_x {
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
        if let Some(node) = for_gamma {
            gradients.register::<Flex>(node.id, tensor(dgamma, [last(&x)]));
        }
        if let Some(node) = for_beta {
            gradients.register::<Flex>(node.id, tensor(dbeta, [last(&x)]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    gamma: FloatTensor<Autodiff<Flex, C>>,
    beta: FloatTensor<Autodiff<Flex, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), gamma.node(), beta.node()];
    match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let [x, gamma, beta] = [x, gamma, beta].map(|input| input.into_primitive());
            let (y, saved) =
                made([&x, &gamma, &beta], move |[x, gamma, beta]| forward(x, gamma, beta, epsilon));
            prepared.finish((saved, epsilon), y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(
            &x.into_primitive(),
            &gamma.into_primitive(),
            &beta.into_primitive(),
            epsilon,
        )),
    }
}
