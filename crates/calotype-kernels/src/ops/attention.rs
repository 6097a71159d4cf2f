//! Attention as a burn operation.

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
use crate::attention::{self, AttentionShape};
use crate::{Isa, Products};

pub fn shape(q: &FlexTensor, k: &FlexTensor, heads: usize, causal: bool) -> AttentionShape {
    AttentionShape {
        queries: q.layout().shape()[1],
        keys: k.layout().shape()[1],
        heads,
        head_width: last(q) / heads,
        causal,
    }
}

pub fn forward(
    q: &FlexTensor,
    k: &FlexTensor,
    v: &FlexTensor,
    s: AttentionShape,
    products: Products,
) -> FlexTensor {
    let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
    let y = attention::forward(Isa::of(products), &s, values(&q), values(&k), values(&v));
    tensor(y, q.layout().shape().clone())
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 3> for Attention {
    type State = (NodeId, NodeId, NodeId, AttentionShape, Products);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (q, k, v, s, products) = ops.state;
        let q = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(q));
        let k = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(k));
        let v = contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(v));
        let (dq, dk, dv) =
            attention::backward(Isa::of(products), &s, values(&q), values(&k), values(&v), values(&dy));
        let inputs = [(q, dq), (k, dk), (v, dv)];
        for (node, (input, gradient)) in ops.parents.into_iter().zip(inputs) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(gradient, input.layout().shape().clone()));
            }
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    q: FloatTensor<Autodiff<Flex, C>>,
    k: FloatTensor<Autodiff<Flex, C>>,
    v: FloatTensor<Autodiff<Flex, C>>,
    heads: usize,
    causal: bool,
    products: Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Attention.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let kept = (prepared.checkpoint(&q), prepared.checkpoint(&k), prepared.checkpoint(&v));
            let (q, k) = (q.into_primitive(), k.into_primitive());
            let s = shape(&q, &k, heads, causal);
            let y = forward(&q, &k, &v.into_primitive(), s, products);
            prepared.finish((kept.0, kept.1, kept.2, s, products), y)
        }
        OpsKind::UnTracked(prepared) => {
            let (q, k) = (q.into_primitive(), k.into_primitive());
            let s = shape(&q, &k, heads, causal);
            prepared.finish(forward(&q, &k, &v.into_primitive(), s, products))
        }
    }
}
