//! The gated feed-forward layer of T5 1.1.

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{Activation, activation};

use super::T5Config;
use crate::nn::{Init, Linear};

/// W_o(GELU(W_0 x) ⊙ W_1 x). Shazeer 2020, arXiv:2002.05202, Eq. 6, with GELU's tanh form.
#[derive(Module, Debug)]
pub struct GatedFeedForward {
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

impl GatedFeedForward {
    /// As transformers begins.
    pub fn new(config: &T5Config, init: &mut Init) -> Self {
        let (outer, inner) = (config.d_model, config.d_ff);
        let (outer_std, inner_std) = ((outer as f64).powf(-0.5), (inner as f64).powf(-0.5));
        Self {
            wi_0: Linear::normal(outer, inner, false, outer_std, init),
            wi_1: Linear::normal(outer, inner, false, outer_std, init),
            wo: Linear::normal(inner, outer, false, inner_std, init),
        }
    }

    /// `[B, L, d_model]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = activation(self.wi_0.forward(x.clone()), Activation::GeluTanh);
        self.wo.forward(gate * self.wi_1.forward(x))
    }
}
