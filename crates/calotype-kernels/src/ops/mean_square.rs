//! The mean squared error as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, tensor, values};
use crate::{Isa, mean_square};

pub fn forward(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    let (a, b) = (contiguous(a), contiguous(b));
    tensor(vec![mean_square::forward(Isa::best(), values(&a), values(&b))], [1])
}

#[derive(Debug)]
struct MeanSquare;

impl Backward<Flex, 2> for MeanSquare {
    type State = [NodeId; 2];

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [a, b] = ops.state.map(|x| contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(x)));
        let (a, b, shape) = (values(&a), values(&b), a.layout().shape().clone());
        let scale = (1.0 / a.len() as f64) as f32 * values(&dy)[0];
        for (node, scale) in ops.parents.into_iter().zip([scale, -scale]) {
            if let Some(node) = node {
                let gradient = mean_square::backward(Isa::best(), a, b, scale);
                gradients.register::<Flex>(node.id, tensor(gradient, shape.clone()));
            }
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    a: FloatTensor<Autodiff<Flex, C>>,
    b: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    match MeanSquare.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let kept = [prepared.checkpoint(&a), prepared.checkpoint(&b)];
            prepared.finish(kept, forward(&a.into_primitive(), &b.into_primitive()))
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(&a.into_primitive(), &b.into_primitive())),
    }
}
