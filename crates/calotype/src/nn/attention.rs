//! Multi-head attention, self and cross, with a hook that sees the probabilities.

use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax};

use super::{Init, Linear};

/// Sees the attention probabilities of every cross-attention layer during a forward pass.
pub trait AttentionHook {
    /// `probabilities`: `[B, heads, height·width, tokens]`, rows sum to 1.
    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>);
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
        }
    }

    /// Queries from `x` `[B, N, width]`, keys and values from `context` `[B, L, context width]`.
    /// Returns the output `[B, N, width]` and the probabilities `[B, heads, N, L]`.
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> (Tensor<3>, Tensor<4>) {
        let [b, n, width] = x.dims();
        let q = split_heads(self.to_q.forward(x), self.heads);
        let k = split_heads(self.to_k.forward(context.clone()), self.heads);
        let v = split_heads(self.to_v.forward(context), self.heads);
        let (y, probabilities) = attend(q, k, v, None);
        let y = y.swap_dims(1, 2).reshape([b, n, width]);
        (self.to_out[0].forward(y), probabilities)
    }
}

/// `[B, L, heads·d]` to `[B, heads, L, d]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, l, width] = x.dims();
    x.reshape([b, l, heads, width / heads]).swap_dims(1, 2)
}

/// softmax(Q Kᵀ/√d + mask) V for `[B, heads, L, d]`; `mask` broadcasts to `[B, heads, N, L]` and
/// holds −∞ where a key is hidden. Returns the output and the probabilities.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<4>>) -> (Tensor<4>, Tensor<4>) {
    let d = q.dims()[3];
    // Scaling the queries, not the scores, touches d numbers a row and not L.
    let scores = (q * (1.0 / (d as f64).sqrt())).matmul(k.swap_dims(2, 3));
    let scores = match mask {
        Some(mask) => scores + mask,
        None => scores,
    };
    let probabilities = softmax(scores, 3);
    (probabilities.clone().matmul(v), probabilities)
}
