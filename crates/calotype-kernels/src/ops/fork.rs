//! One tensor for several readers.
//!
//! A tensor that two operations read has a gradient of two summands, and burn's own sum of them is a pass of its
//! generic path. Here every reader has a branch, the branches put their gradients into one place, and a kernel sums them
//! there; what burn sees of it is a token.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{add, tensor, with_backward};

/// Where the branches' gradients are summed in the order in which they come, as burn would.
#[derive(Debug, Clone, Default)]
pub struct Junction(Arc<Mutex<Option<FlexTensor>>>);

impl Junction {
    pub fn add(&self, gradient: FlexTensor) {
        // No sum is left half done: a panic of a kernel ends the pass.
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = Some(match sum.take() {
            Some(sum) => add::forward(gradient, sum),
            None => gradient,
        });
    }

    pub fn take(&self) -> Option<FlexTensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The tensor before its branches.
#[derive(Debug)]
struct Stem;

impl Backward<Flex, 1> for Stem {
    type State = Junction;

    fn backward(self, ops: Ops<Junction, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let _token = gradients.consume::<Flex>(&ops.node);
        let [node] = ops.parents;
        if let (Some(node), Some(sum)) = (node, ops.state.take()) {
            gradients.register::<Flex>(node.id, sum);
        }
    }
}

/// A reader, whose gradient goes to the junction.
#[derive(Debug)]
pub struct Branch;

impl Backward<Flex, 1> for Branch {
    type State = Junction;

    fn backward(self, ops: Ops<Junction, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        ops.state.add(gradients.consume::<Flex>(&ops.node));
        let [node] = ops.parents;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, tensor(vec![0.0], [1]));
        }
    }
}

/// `x` itself, whose gradient is what [`branch`]es of the same junction have put there.
pub fn stem<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    junction: Junction,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [x.node()];
    with_backward::<C, _, _>(Stem, inputs, junction, x.into_primitive())
}

/// `stem` itself, whose gradient goes to the junction.
pub fn branch<C: CheckpointStrategy>(
    stem: FloatTensor<Autodiff<Flex, C>>,
    junction: Junction,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [stem.node()];
    with_backward::<C, _, _>(Branch, inputs, junction, stem.into_primitive())
}
