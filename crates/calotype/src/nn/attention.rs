//! Multi-head attention, self and cross, with a hook that sees the probabilities and may compute something else.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{attention, attention_shown, fork};

use super::{Init, Linear, Products};

/// What a layer is given: queries `[B, N, heads·d]`, keys and values `[B, L, heads·d]`.
#[derive(Debug, Clone)]
pub struct Qkv {
    /// Queries, of the picture.
    pub q: Tensor<3>,
    /// Keys, of what is read.
    pub k: Tensor<3>,
    /// Values, of the same.
    pub v: Tensor<3>,
}

impl Qkv {
    /// Those of some samples of the batch.
    pub fn samples(&self, range: Range<usize>) -> Self {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|x| x.clone().narrow(0, range.start, range.len()));
        Self { q, k, v }
    }
}

/// What a layer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The picture itself: self-attention.
    Picture,
    /// The text: cross-attention.
    Text,
}

/// softmax(Q Kᵀ / √d) V as a layer computes it, `[B, N, heads·d]`.
pub type Weigh<'a> = dyn Fn(Qkv) -> Tensor<3> + 'a;

/// Sees the attention probabilities of every layer in which a picture reads a text during a forward pass, and may put
/// something else in place of what a layer of self- or cross-attention computes.
pub trait AttentionHook {
    /// How many of a layer's heads it sees: the first of them, by default all; of none, nothing is shown.
    fn heads(&self, heads: usize) -> usize {
        heads
    }

    /// `probabilities`: `[B, heads, height·width, tokens]`, rows sum to 1, or in attention that text and picture share to
    /// what the picture leaves; part of the graph of gradients, if there is one.
    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>);

    /// In place of `weigh` of `qkv`, for a layer on a feature map of height and width `size`: usually a combination of
    /// what `weigh` gives for others. `None`, the default, leaves the layer as it is. The probabilities that
    /// [`AttentionHook::cross_attention`] sees are those of `qkv` all the same.
    fn rewired(&self, reads: Reads, size: [usize; 2], qkv: &Qkv, weigh: &Weigh) -> Option<Tensor<3>> {
        let _ = (reads, size, qkv, weigh);
        None
    }
}

/// softmax(Q Kᵀ / √d) V, split into heads. Vaswani et al. 2017, arXiv:1706.03762, Eq. 1.
///
/// Self-attention reads queries, keys and values from the same sequence. Cross-attention reads the
/// queries from the picture and the keys and values from the text (Rombach et al. 2022,
/// arXiv:2112.10752, section 3.3).
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries: `[heads·d, width]`.
    pub to_q: Linear,
    /// Keys: `[heads·d, context width]`.
    pub to_k: Linear,
    /// Values: `[heads·d, context width]`.
    pub to_v: Linear,
    /// Output projection; a list of one, as diffusers keeps it (its second entry is dropout).
    pub to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    products: Products,
}

impl Attention {
    /// `bias` is for queries, keys and values; the output projection always has one.
    pub fn new(width: usize, context_width: usize, heads: usize, bias: bool, init: &mut Init) -> Self {
        Self {
            to_q: Linear::new(width, width, bias, init),
            to_k: Linear::new(context_width, width, bias, init),
            to_v: Linear::new(context_width, width, bias, init),
            to_out: vec![Linear::new(width, width, true, init)],
            heads,
            products: init.products(),
        }
    }

    /// Queries from `x` `[B, N, width]`, keys and values from `context` `[B, L, context width]`.
    /// Returns `[B, N, width]`.
    ///
    /// `watch` is shown the probabilities of as many heads as it asks for, `[B, heads, N, L]`. They are
    /// computed only for those who want to see them.
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>, watch: Option<Watch>) -> Tensor<3> {
        let [for_k, for_v] = fork(context);
        self.attend([x, for_k, for_v], Reads::Text, watch)
    }

    /// Queries, keys and values all from `x` `[B, N, width]`. `watch` sees nothing, but may change what is computed.
    pub fn forward_self(&self, x: Tensor<3>, watch: Option<Watch>) -> Tensor<3> {
        self.attend(fork(x), Reads::Picture, watch)
    }

    fn attend(&self, [for_q, for_k, for_v]: [Tensor<3>; 3], reads: Reads, watch: Option<Watch>) -> Tensor<3> {
        let (q, k, v) = (self.to_q.forward(for_q), self.to_k.forward(for_k), self.to_v.forward(for_v));
        let qkv = Qkv { q, k, v };
        let weigh = |qkv: Qkv| attention(qkv.q, qkv.k, qkv.v, self.heads, false, self.products);
        let rewired = watch
            .and_then(|Watch { hook, height, width }| hook.rewired(reads, [height, width], &qkv, &weigh));
        let seen = watch.filter(|watch| reads == Reads::Text && watch.hook.heads(self.heads) > 0);
        let h = match (rewired, seen) {
            (None, None) => weigh(qkv),
            (None, Some(watch)) => self.shown(qkv, watch),
            (Some(h), None) => h,
            (Some(h), Some(watch)) => {
                self.shown(qkv, watch);
                h
            }
        };
        self.to_out[0].forward(h)
    }

    /// softmax(Q Kᵀ / √d) V, whose probabilities are shown.
    fn shown(&self, Qkv { q, k, v }: Qkv, Watch { hook, height, width }: Watch) -> Tensor<3> {
        let shown = hook.heads(self.heads).min(self.heads);
        let (h, probabilities) = attention_shown(q, k, v, self.heads, shown, self.products);
        hook.cross_attention(height, width, &probabilities);
        h
    }
}

/// A hook at one layer.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Who watches.
    pub hook: &'a dyn AttentionHook,
    /// Rows of the feature map.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Keeps the probabilities of the first heads.
    struct Seen {
        heads: usize,
        shown: RefCell<Option<Tensor<4>>>,
    }

    impl Seen {
        fn new(heads: usize) -> Self {
            Self { heads, shown: RefCell::default() }
        }
    }

    impl AttentionHook for Seen {
        fn heads(&self, _: usize) -> usize {
            self.heads
        }

        fn cross_attention(&self, _: usize, _: usize, probabilities: &Tensor<4>) {
            *self.shown.borrow_mut() = Some(probabilities.clone());
        }
    }

    #[test]
    fn the_probabilities_shown_are_those_used() {
        let device = Device::flex();
        let attention = Attention::new(12, 8, 3, false, &mut Init::random(7, &device));
        let numbers = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
        let x = Tensor::<3>::from_data(TensorData::new(numbers(2 * 5 * 12), [2, 5, 12]), &device);
        let context = Tensor::<3>::from_data(TensorData::new(numbers(2 * 4 * 8), [2, 4, 8]), &device);

        let (all, first) = (Seen::new(3), Seen::new(1));
        for hook in [&all, &first] {
            let watch = Watch { hook, height: 1, width: 5 };
            attention.forward(x.clone(), context.clone(), Some(watch));
        }
        let [probabilities, first] = [all, first].map(|seen| seen.shown.into_inner().unwrap());
        assert_eq!(first.into_data(), probabilities.clone().narrow(1, 0, 1).into_data());
        for sum in probabilities.clone().sum_dim(3).into_data().iter::<f32>() {
            assert!((sum - 1.0).abs() < 1e-6, "a row sums to {sum}");
        }
        let v = attention.to_v.forward(context.clone()).reshape([2, 4, 3, 4]).swap_dims(1, 2);
        let weighed = probabilities.matmul(v).swap_dims(1, 2).reshape([2, 5, 12]);
        let difference = attention.to_out[0].forward(weighed) - attention.forward(x, context, None);
        let largest: f32 = difference.abs().max().into_scalar();
        assert!(largest < 1e-6, "differs by {largest}");
    }
}
