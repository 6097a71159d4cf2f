//! Group normalisation as a burn operation.

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
use crate::group_norm::{self, GroupNormShape, Input};

/// All dimensions between the first and the last are pixels.
pub fn shape(x: &FlexTensor, groups: usize, epsilon: f64, silu: bool) -> GroupNormShape {
    let (pictures, channels) = (x.layout().shape()[0], last(x));
    let pixels = x.layout().shape().num_elements() / (pictures * channels).max(1);
    let width = x.layout().shape()[x.layout().shape().num_dims() - 2];
    GroupNormShape { pixels, channels, groups, epsilon: epsilon as f32, silu, width }
}

/// `shift`: `[B, C]`, or of no numbers.
pub fn forward(
    x: &FlexTensor,
    shift: &FlexTensor,
    gamma: &FlexTensor,
    beta: &FlexTensor,
    s: GroupNormShape,
) -> FlexTensor {
    let [x, shift, gamma, beta] = [x, shift, gamma, beta].map(contiguous);
    let input = Input { x: values(&x), shift: values(&shift) };
    let y = group_norm::forward(Isa::best(), &s, input, values(&gamma), values(&beta));
    tensor(y, x.layout().shape().clone())
}

#[derive(Debug)]
struct GroupNorm;

impl Backward<Flex, 4> for GroupNorm {
    type State = ([Saved; 4], GroupNormShape);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (inputs, s) = ops.state;
        let [x, shift, gamma, beta] = inputs.each_ref().map(Saved::value);
        let input = Input { x: values(&x), shift: values(&shift) };
        let of = group_norm::backward(Isa::best(), &s, input, values(&gamma), values(&beta), values(&dy));
        let [for_x, for_shift, for_gamma, for_beta] = ops.parents;
        if let Some(node) = for_x {
            gradients.register::<Flex>(node.id, tensor(of.x, x.layout().shape().clone()));
        }
        if let Some(node) = for_shift {
            gradients.register::<Flex>(node.id, tensor(of.shift, shift.layout().shape().clone()));
        }
        for (node, gradient) in [(for_gamma, of.gamma), (for_beta, of.beta)] {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(gradient, [s.channels]));
            }
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    [x, shift, gamma, beta]: [FloatTensor<Autodiff<Flex, C>>; 4],
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = [x.node(), shift.node(), gamma.node(), beta.node()];
    let s = shape(x.primitive(), groups, epsilon, silu);
    match GroupNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let [x, shift, gamma, beta] = [x, shift, gamma, beta].map(|input| input.into_primitive());
            let (y, saved) = made([&x, &shift, &gamma, &beta], move |[x, shift, gamma, beta]| {
                forward(x, shift, gamma, beta, s)
            });
            prepared.finish((saved, s), y)
        }
        OpsKind::UnTracked(prepared) => {
            let [x, shift, gamma, beta] = [x, shift, gamma, beta].map(|input| input.into_primitive());
            prepared.finish(forward(&x, &shift, &gamma, &beta, s))
        }
    }
}
