//! Group normalisation as a burn operation.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, last, tensor, values};
use crate::Isa;
use crate::group_norm::{self, GroupNormShape};

/// All dimensions between the first and the last are pixels.
pub fn shape(x: &FlexTensor, groups: usize, epsilon: f64, silu: bool) -> GroupNormShape {
    let (pictures, channels) = (x.layout().shape()[0], last(x));
    let pixels = x.layout().shape().num_elements() / (pictures * channels).max(1);
    GroupNormShape { pixels, channels, groups, epsilon: epsilon as f32, silu }
}

pub fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, s: GroupNormShape) -> FlexTensor {
    let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
    let y = group_norm::forward(Isa::best(), &s, values(&x), values(&gamma), values(&beta));
    tensor(y, x.layout().shape().clone())
}

#[derive(Debug)]
struct GroupNorm;

impl Backward<Flex, 3> for GroupNorm {
    type State = (NodeId, NodeId, NodeId, GroupNormShape);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, gamma, beta, s) = ops.state;
        let x = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(x));
        let gamma = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(gamma));
        let beta = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(beta));
        let (dx, dgamma, dbeta) =
            group_norm::backward(Isa::best(), &s, values(&x), values(&gamma), values(&beta), values(&dy));
        let [for_x, for_gamma, for_beta] = ops.parents;
        if let Some(node) = for_x {
            gradients.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
        if let Some(node) = for_gamma {
            gradients.register::<Flex>(node.id, tensor(dgamma, [s.channels]));
        }
        if let Some(node) = for_beta {
            gradients.register::<Flex>(node.id, tensor(dbeta, [s.channels]));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    gamma: FloatTensor<Autodiff<Flex, C>>,
    beta: FloatTensor<Autodiff<Flex, C>>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), gamma.node(), beta.node()];
    match GroupNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let kept = (prepared.checkpoint(&x), prepared.checkpoint(&gamma), prepared.checkpoint(&beta));
            let x = x.into_primitive();
            let s = shape(&x, groups, epsilon, silu);
            let y = forward(&x, &gamma.into_primitive(), &beta.into_primitive(), s);
            prepared.finish((kept.0, kept.1, kept.2, s), y)
        }
        OpsKind::UnTracked(prepared) => {
            let x = x.into_primitive();
            let s = shape(&x, groups, epsilon, silu);
            prepared.finish(forward(&x, &gamma.into_primitive(), &beta.into_primitive(), s))
        }
    }
}
