//! The blocks: first with weights for text and picture each, then with one set for both.
//!
//! Esser et al. 2024, arXiv:2403.03206, Figure 2 (the double blocks); Dehghani et al. 2023, arXiv:2302.05442, section 2
//! (attention and feed-forward side by side, as in the single blocks).

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{Activation, activation, concat, fork};

use super::attention::{JointAttention, Sequence, SingleAttention};
use super::config::FluxConfig;
use super::modulation::{Modulation, gated, modulated};
use crate::nn::{Init, Linear};

/// Inner width of the feed-forward layers, in widths of the network.
pub const EXPANSION: usize = 4;

/// A linear map and tanh's approximation of GELU.
#[derive(Module, Debug)]
pub struct GeluProjection {
    proj: Linear,
}

/// Linear, GELU, linear. The numbers in the fields' names are diffusers' places in its list `net` (place 1 is dropout).
#[derive(Module, Debug)]
pub struct FeedForward {
    net_0: GeluProjection,
    net_2: Linear,
}

impl FeedForward {
    fn new(width: usize, init: &mut Init) -> Self {
        let net_0 = GeluProjection { proj: Linear::new(width, EXPANSION * width, true, init) };
        Self { net_0, net_2: Linear::new(EXPANSION * width, width, true, init) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.net_2.forward(activation(self.net_0.proj.forward(x), Activation::GeluTanh))
    }
}

/// Text and picture with weights of their own, which meet in attention.
#[derive(Module, Debug)]
pub struct DoubleBlock {
    norm1: Modulation,
    norm1_context: Modulation,
    attn: JointAttention,
    ff: FeedForward,
    ff_context: FeedForward,
}

impl DoubleBlock {
    /// Of the shape of `config`.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Self {
        let width = config.width();
        Self {
            norm1: Modulation::new(width, 6, init),
            norm1_context: Modulation::new(width, 6, init),
            attn: JointAttention::new(config, init),
            ff: FeedForward::new(width, init),
            ff_context: FeedForward::new(width, init),
        }
    }

    /// [text `[B, L, D]`, picture `[B, S, D]`] to the same. `condition`: SiLU of the embedded condition.
    pub fn forward(
        &self,
        [text, picture]: [Tensor<3>; 2],
        condition: &Tensor<2>,
        sequence: Sequence,
    ) -> [Tensor<3>; 2] {
        let [text_shift, text_scale, text_gate, text_ff @ ..] = self.norm1_context.forward::<6>(condition);
        let [shift, scale, gate, picture_ff @ ..] = self.norm1.forward::<6>(condition);
        let ([text, text_residual], [picture, residual]) = (fork(text), fork(picture));
        let [of_text, of_picture] = self.attn.forward(
            modulated(text, text_shift, text_scale),
            modulated(picture, shift, scale),
            sequence,
        );
        [
            feed(&self.ff_context, gated(text_residual, text_gate, of_text), text_ff),
            feed(&self.ff, gated(residual, gate, of_picture), picture_ff),
        ]
    }
}

/// x + gate·ff(LN(x)·(1 + scale) + shift).
fn feed(ff: &FeedForward, x: Tensor<3>, [shift, scale, gate]: [Tensor<2>; 3]) -> Tensor<3> {
    let [x, residual] = fork(x);
    gated(residual, gate, ff.forward(modulated(x, shift, scale)))
}

/// Text and picture as one sequence; attention and feed-forward side by side.
#[derive(Module, Debug)]
pub struct SingleBlock {
    norm: Modulation,
    attn: SingleAttention,
    proj_mlp: Linear,
    proj_out: Linear,
}

impl SingleBlock {
    /// Of the shape of `config`.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Self {
        let width = config.width();
        Self {
            norm: Modulation::new(width, 3, init),
            attn: SingleAttention::new(config, init),
            proj_mlp: Linear::new(width, EXPANSION * width, true, init),
            proj_out: Linear::new((1 + EXPANSION) * width, width, true, init),
        }
    }

    /// `[B, L + S, D]` to the same. `condition`: SiLU of the embedded condition.
    pub fn forward(&self, x: Tensor<3>, condition: &Tensor<2>, sequence: Sequence) -> Tensor<3> {
        let [b, n, d] = x.dims();
        let [shift, scale, gate] = self.norm.forward::<3>(condition);
        let [x, residual] = fork(x);
        let [for_attention, for_mlp] = fork(modulated(x, shift, scale));
        let read = self.attn.forward(for_attention, sequence);
        let mlp = activation(self.proj_mlp.forward(for_mlp), Activation::GeluTanh);
        let beside = concat(read.reshape([b, 1, n, d]), mlp.reshape([b, 1, n, EXPANSION * d]));
        gated(residual, gate, self.proj_out.forward(beside.reshape([b, n, (1 + EXPANSION) * d])))
    }
}
