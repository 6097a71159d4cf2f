//! Attention as a burn operation.
//!
//! An operation of burn has one result. Attention that shows its probabilities is a stem with two branches, as in
//! [`fork`](super::fork): they leave their gradients where the stem's backward pass finds both, and pass on a token.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::fork::{Branch, Junction};
use super::{contiguous, last, tensor, values, with_backward};
use crate::attention::{self, AttentionShape, Upstream};
use crate::{Isa, Products};

/// One of attention's two results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `[B, N, heads·d]`.
    Output,
    /// `[B, shown heads, N, L]`.
    Probabilities,
}

/// What attention shows, and its results' gradients on their way back.
#[derive(Debug, Clone)]
pub struct Shown {
    heads: usize,
    /// On their way to the branch.
    probabilities: Junction,
    /// Of each [`Part`], on their way to the stem.
    gradients: [Junction; 2],
}

impl Shown {
    /// The first `heads` heads.
    pub fn first(heads: usize) -> Self {
        Self { heads, probabilities: Junction::default(), gradients: Default::default() }
    }
}

pub fn shape(q: &FlexTensor, k: &FlexTensor, heads: usize, causal: bool) -> AttentionShape {
    AttentionShape {
        queries: q.layout().shape()[1],
        keys: k.layout().shape()[1],
        heads,
        head_width: last(q) / heads,
        causal,
    }
}

/// The output. The probabilities, if any are shown, wait for their [`branch`].
pub fn forward(
    [q, k, v]: [&FlexTensor; 3],
    s: AttentionShape,
    shown: Option<&Shown>,
    products: Products,
) -> FlexTensor {
    let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
    let heads = shown.map_or(0, |shown| shown.heads);
    let attended = attention::forward(Isa::of(products), &s, values(&q), values(&k), values(&v), heads);
    if let Some(shown) = shown {
        let shape = [q.layout().shape()[0], heads, s.queries, s.keys];
        shown.probabilities.add(tensor(attended.shown, shape));
    }
    tensor(attended.y, q.layout().shape().clone())
}

#[derive(Debug)]
struct Attention;

#[derive(Debug, Clone)]
struct State {
    inputs: [NodeId; 3],
    shape: AttentionShape,
    shown: Option<Shown>,
    products: Products,
}

impl Backward<Flex, 3> for Attention {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let State { inputs, shape: s, shown, products } = ops.state;
        let [q, k, v] = inputs.map(|x| contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(x)));
        let own = gradients.consume::<Flex>(&ops.node);
        let [dy, dp] = match shown {
            None => [Some(own), None],
            Some(shown) => shown.gradients.each_ref().map(Junction::take),
        };
        let [dy, dp] = [dy, dp].map(|gradient| gradient.map(|gradient| contiguous(&gradient)));
        let zeros = if dy.is_none() { vec![0.0; values(&q).len()] } else { vec![] };
        let upstream =
            Upstream { dy: dy.as_ref().map_or(&zeros, values), dp: dp.as_ref().map_or(&[], values) };
        let (dq, dk, dv) =
            attention::backward(Isa::of(products), &s, values(&q), values(&k), values(&v), upstream);
        let inputs = [(q, dq), (k, dk), (v, dv)];
        for (node, (input, gradient)) in ops.parents.into_iter().zip(inputs) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, tensor(gradient, input.layout().shape().clone()));
            }
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    [q, k, v]: [FloatTensor<Autodiff<Flex, C>>; 3],
    heads: usize,
    causal: bool,
    shown: Option<Shown>,
    products: Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Attention.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let inputs = [&q, &k, &v].map(|x| prepared.checkpoint(x));
            let [q, k, v] = [q, k, v].map(|x| x.into_primitive());
            let shape = shape(&q, &k, heads, causal);
            let y = forward([&q, &k, &v], shape, shown.as_ref(), products);
            prepared.finish(State { inputs, shape, shown, products }, y)
        }
        OpsKind::UnTracked(prepared) => {
            let [q, k, v] = [q, k, v].map(|x| x.into_primitive());
            let shape = shape(&q, &k, heads, causal);
            prepared.finish(forward([&q, &k, &v], shape, shown.as_ref(), products))
        }
    }
}

/// A part of what attention gave, of which `stem` is the output. Each part is asked for once.
pub fn part(stem: FlexTensor, shown: &Shown, part: Part) -> FlexTensor {
    match part {
        Part::Output => stem,
        Part::Probabilities => shown.probabilities.take().expect("attention has put them there"),
    }
}

/// The same, whose gradient waits for the stem's backward pass.
pub fn branch<C: CheckpointStrategy>(
    stem: FloatTensor<Autodiff<Flex, C>>,
    shown: Shown,
    of: Part,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [stem.node()];
    let y = part(stem.into_primitive(), &shown, of);
    with_backward::<C, _, _>(Branch, inputs, shown.gradients[of as usize].clone(), y)
}
