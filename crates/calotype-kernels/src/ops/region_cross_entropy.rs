//! The cross-entropy of regions as a burn operation.

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
use crate::region_cross_entropy::{self, Known, RegionShape};

/// `naming`, `covered` and `weights`, contiguous.
#[derive(Debug, Clone)]
pub struct Regions([FlexTensor; 3]);

impl Regions {
    pub fn new(naming: &FlexTensor, covered: &FlexTensor, weights: &FlexTensor) -> Self {
        Self([naming, covered, weights].map(contiguous))
    }

    fn known(&self) -> Known<'_> {
        let [naming, covered, weights] = self.0.each_ref().map(values);
        Known { naming, covered, weights }
    }

    fn shape(&self, p: &FlexTensor) -> RegionShape {
        let shape = p.layout().shape();
        RegionShape { heads: shape[1], cells: shape[2], tokens: shape[3], regions: last(&self.0[2]) }
    }
}

pub fn forward(p: &FlexTensor, regions: &Regions, certain: f32) -> FlexTensor {
    let p = contiguous(p);
    let sum = region_cross_entropy::forward(&regions.shape(&p), values(&p), regions.known(), certain);
    tensor(vec![sum], [1])
}

#[derive(Debug)]
struct RegionCrossEntropy;

impl Backward<Flex, 1> for RegionCrossEntropy {
    type State = (NodeId, Regions, f32);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let upstream = values(&contiguous(&gradients.consume::<Flex>(&ops.node)))[0];
        let (p, regions, certain) = ops.state;
        let p = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(p));
        let [node] = ops.parents;
        if let Some(node) = node {
            let (shape, known) = (regions.shape(&p), regions.known());
            let dp = region_cross_entropy::backward(&shape, values(&p), known, certain, upstream);
            gradients.register::<Flex>(node.id, tensor(dp, p.layout().shape().clone()));
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    p: FloatTensor<Autodiff<Flex, C>>,
    regions: Regions,
    certain: f32,
) -> FloatTensor<Autodiff<Flex, C>> {
    match RegionCrossEntropy.prepare::<C>([p.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let kept = prepared.checkpoint(&p);
            let y = forward(&p.into_primitive(), &regions, certain);
            prepared.finish((kept, regions, certain), y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(&p.into_primitive(), &regions, certain)),
    }
}
