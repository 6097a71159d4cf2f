//! Transformer on a feature map: self-attention, cross-attention to the text, feed-forward.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{add, fork};

use super::attention::Watch;
use super::{Attention, AttentionHook, Conv2d, GroupNorm, Init, LayerNorm, Linear};

/// Shazeer 2020, arXiv:2002.05202: GEGLU(x) = a ⊙ GELU(b), [a, b] = W x.
#[derive(Module, Debug)]
pub struct Geglu {
    proj: Linear,
}

/// GEGLU, then a linear map, of inner width 4·C. The numbers in the fields' names are diffusers'
/// places in its list `net` (place 1 is dropout).
#[derive(Module, Debug)]
pub struct FeedForward {
    net_0: Geglu,
    net_2: Linear,
}

impl FeedForward {
    fn new(width: usize, init: &mut Init) -> Self {
        let net_0 = Geglu { proj: Linear::new(width, 8 * width, true, init) };
        Self { net_0, net_2: Linear::new(4 * width, width, true, init) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.net_2.forward(calotype_kernels::geglu(self.net_0.proj.forward(x)))
    }
}

/// x + self-attention, x + cross-attention, x + feed-forward, each behind a layer norm.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(width: usize, context_width: usize, heads: usize, init: &mut Init) -> Self {
        Self {
            norm1: LayerNorm::new(width, 1e-5, init),
            attn1: Attention::new(width, width, heads, false, init),
            norm2: LayerNorm::new(width, 1e-5, init),
            attn2: Attention::new(width, context_width, heads, false, init),
            norm3: LayerNorm::new(width, 1e-5, init),
            ff: FeedForward::new(width, init),
        }
    }

    /// `watch` sees the probabilities of the cross-attention, and may change both kinds.
    fn forward(&self, x: Tensor<3>, context: &Tensor<3>, watch: Option<Watch>) -> Tensor<3> {
        let [x, residual] = fork(x);
        let [x, residual] = fork(add(residual, self.attn1.forward_self(self.norm1.forward(x), watch)));
        let h = self.attn2.forward(self.norm2.forward(x), context.clone(), watch);
        let [x, residual] = fork(add(residual, h));
        add(residual, self.ff.forward(self.norm3.forward(x)))
    }
}

/// The projection in and out of the token sequence: a 1×1 convolution in SD 1.x, a linear layer in
/// SD 2.x and SDXL. Same arithmetic, other tensor shape.
#[derive(Module, Debug)]
pub enum Projection {
    /// `[C, C, 1, 1]`.
    Conv(Conv2d),
    /// `[C, C]`.
    Linear(Linear),
}

impl Projection {
    fn new(width: usize, linear: bool, init: &mut Init) -> Self {
        if linear {
            Self::Linear(Linear::new(width, width, true, init))
        } else {
            Self::Conv(Conv2d::same(width, width, 1, init))
        }
    }
}

/// What all transformers of one network share.
#[derive(Debug, Clone, Copy)]
pub struct Transformer2dConfig {
    /// Number of attention heads.
    pub heads: usize,
    /// Width of the text features.
    pub context_width: usize,
    /// Transformer blocks in a row.
    pub layers: usize,
    /// Groups of the group norm.
    pub groups: usize,
    /// Linear projections instead of 1×1 convolutions.
    pub linear_projection: bool,
}

/// Transformer over the positions of a feature map. Rombach et al. 2022, section 3.3.
#[derive(Module, Debug)]
pub struct Transformer2d {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl Transformer2d {
    /// For `width` channels.
    pub fn new(width: usize, config: Transformer2dConfig, init: &mut Init) -> Self {
        Self {
            norm: GroupNorm::new(config.groups, width, 1e-6, init),
            proj_in: Projection::new(width, config.linear_projection, init),
            transformer_blocks: (0..config.layers)
                .map(|_| TransformerBlock::new(width, config.context_width, config.heads, init))
                .collect(),
            proj_out: Projection::new(width, config.linear_projection, init),
        }
    }

    /// `x`: `[B, H, W, C]`, `context`: `[B, L, context width]`.
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>, hook: Option<&dyn AttentionHook>) -> Tensor<4> {
        let [b, height, width, c] = x.dims();
        let tokens = |x: Tensor<4>| x.reshape([b, height * width, c]);
        let map = |h: Tensor<3>| h.reshape([b, height, width, c]);
        let [x, residual] = fork(x);
        let h = self.norm.forward(x);
        let mut h = match &self.proj_in {
            Projection::Conv(conv) => tokens(conv.forward(h)),
            Projection::Linear(linear) => linear.forward(tokens(h)),
        };
        for block in &self.transformer_blocks {
            h = block.forward(h, context, hook.map(|hook| Watch { hook, height, width }));
        }
        let h = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(map(h)),
            Projection::Linear(linear) => map(linear.forward(h)),
        };
        add(residual, h)
    }
}
