//! Attention of text and picture together: every token reads every token.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{attention, attention_shown, fork, rotate_pairs};

use super::config::FluxConfig;
use crate::nn::attention::Watch;
use crate::nn::{Init, Linear, Products, Qkv, RmsNorm};

/// ε of the norms of queries and keys.
const EPSILON: f64 = 1e-6;

/// What all attention of a pass has in common.
#[derive(Clone, Copy)]
pub struct Sequence<'a> {
    /// Angles of the tokens, text first: `[L + S, d]`.
    pub rotations: &'a Tensor<2>,
    /// L.
    pub text: usize,
    /// Who sees what the picture's tokens read of the text.
    pub watch: Option<Watch<'a>>,
}

/// Heads of a layer, and how it multiplies.
#[derive(Debug, Clone, Copy)]
struct Heads {
    count: usize,
    products: Products,
}

impl Heads {
    /// RMS norm of every head of `[B, N, heads·d]`.
    fn normalise(self, norm: &RmsNorm, x: Tensor<3>) -> Tensor<3> {
        let [b, n, width] = x.dims();
        norm.forward(x.reshape([b, n * self.count, width / self.count])).reshape([b, n, width])
    }

    /// softmax(Q Kᵀ/√d) V of queries and keys that are turned by their positions: `[B, L + S, heads·d]`.
    ///
    /// A hook is shown the probabilities with which the picture's tokens read those of the text; what is missing to 1
    /// they read of the picture. It is shown the first tokens of the picture, as many as its height and width say.
    fn attend(self, Qkv { q, k, v }: Qkv, sequence: Sequence) -> Tensor<3> {
        let Sequence { rotations, text, watch } = sequence;
        let [q, k] = [q, k].map(|x| rotate_pairs(x, rotations.clone()));
        let Some(Watch { hook, height, width }) = watch.filter(|watch| watch.hook.heads(self.count) > 0)
        else {
            return attention(q, k, v, self.count, false, self.products);
        };
        let shown = hook.heads(self.count).min(self.count);
        let rest = q.dims()[1] - text;
        let (of_text, of_picture) = (q.clone().narrow(1, 0, text), q.narrow(1, text, rest));
        let (picture, probabilities) =
            attention_shown(of_picture, k.clone(), v.clone(), self.count, shown, self.products);
        hook.cross_attention(height, width, &probabilities.narrow(2, 0, height * width).narrow(3, 0, text));
        let text = attention(of_text, k, v, self.count, false, self.products);
        Tensor::cat(vec![text, picture], 1)
    }
}

/// Attention of a double block: text and picture have projections of their own.
#[derive(Module, Debug)]
pub struct JointAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    add_q_proj: Linear,
    add_k_proj: Linear,
    add_v_proj: Linear,
    norm_added_q: RmsNorm,
    norm_added_k: RmsNorm,
    /// A list of one, as diffusers keeps it (its second entry is dropout).
    to_out: Vec<Linear>,
    to_add_out: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    products: Products,
}

impl JointAttention {
    /// Of the shape of `config`.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Self {
        let (width, head) = (config.width(), config.attention_head_dim);
        let linear = |init: &mut Init| Linear::new(width, width, true, init);
        let norm = |init: &mut Init| RmsNorm::new(head, EPSILON, init);
        Self {
            to_q: linear(init),
            to_k: linear(init),
            to_v: linear(init),
            norm_q: norm(init),
            norm_k: norm(init),
            add_q_proj: linear(init),
            add_k_proj: linear(init),
            add_v_proj: linear(init),
            norm_added_q: norm(init),
            norm_added_k: norm(init),
            to_out: vec![linear(init)],
            to_add_out: linear(init),
            heads: config.num_attention_heads,
            products: init.products(),
        }
    }

    /// What text `[B, L, D]` and picture `[B, S, D]` read, each in its own projection.
    pub fn forward(&self, text: Tensor<3>, picture: Tensor<3>, sequence: Sequence) -> [Tensor<3>; 2] {
        let heads = Heads { count: self.heads, products: self.products };
        let ([text_q, text_k, text_v], [q, k, v]) = (fork(text), fork(picture));
        let both = |text: Tensor<3>, picture: Tensor<3>| Tensor::cat(vec![text, picture], 1);
        let qkv = Qkv {
            q: both(
                heads.normalise(&self.norm_added_q, self.add_q_proj.forward(text_q)),
                heads.normalise(&self.norm_q, self.to_q.forward(q)),
            ),
            k: both(
                heads.normalise(&self.norm_added_k, self.add_k_proj.forward(text_k)),
                heads.normalise(&self.norm_k, self.to_k.forward(k)),
            ),
            v: both(self.add_v_proj.forward(text_v), self.to_v.forward(v)),
        };
        let read = heads.attend(qkv, sequence);
        let rest = read.dims()[1] - sequence.text;
        let text = self.to_add_out.forward(read.clone().narrow(1, 0, sequence.text));
        [text, self.to_out[0].forward(read.narrow(1, sequence.text, rest))]
    }
}

/// Attention of a single block: one sequence, and no output projection.
#[derive(Module, Debug)]
pub struct SingleAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    products: Products,
}

impl SingleAttention {
    /// Of the shape of `config`.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Self {
        let (width, head) = (config.width(), config.attention_head_dim);
        Self {
            to_q: Linear::new(width, width, true, init),
            to_k: Linear::new(width, width, true, init),
            to_v: Linear::new(width, width, true, init),
            norm_q: RmsNorm::new(head, EPSILON, init),
            norm_k: RmsNorm::new(head, EPSILON, init),
            heads: config.num_attention_heads,
            products: init.products(),
        }
    }

    /// What `[B, L + S, D]` reads.
    pub fn forward(&self, x: Tensor<3>, sequence: Sequence) -> Tensor<3> {
        let heads = Heads { count: self.heads, products: self.products };
        let [q, k, v] = fork(x);
        let qkv = Qkv {
            q: heads.normalise(&self.norm_q, self.to_q.forward(q)),
            k: heads.normalise(&self.norm_k, self.to_k.forward(k)),
            v: self.to_v.forward(v),
        };
        heads.attend(qkv, sequence)
    }
}
