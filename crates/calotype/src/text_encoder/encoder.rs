//! The transformer that both towers share.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use calotype_kernels::{Activation, activation, add, fork};

use super::config::{ClipTextConfig, ClipVisionConfig, HiddenAct};
use crate::nn::{Init, LayerNorm, Linear, Products};

/// Sizes of one tower.
#[derive(Debug, Clone, Copy)]
pub struct EncoderConfig {
    /// Width.
    pub width: usize,
    /// Width inside the feed-forward network.
    pub inner_width: usize,
    /// Heads of the self-attention.
    pub heads: usize,
    /// Number of layers.
    pub layers: usize,
    /// ε of the layer norms.
    pub epsilon: f64,
    /// Activation of the feed-forward network.
    pub activation: HiddenAct,
}

/// Both towers' configs have these keys.
macro_rules! sizes_of {
    ($($config:ty),+) => {
        $(impl From<&$config> for EncoderConfig {
            fn from(config: &$config) -> Self {
                Self {
                    width: config.hidden_size,
                    inner_width: config.intermediate_size,
                    heads: config.num_attention_heads,
                    layers: config.num_hidden_layers,
                    epsilon: config.layer_norm_eps,
                    activation: config.hidden_act,
                }
            }
        })+
    };
}
sizes_of!(ClipTextConfig, ClipVisionConfig);

#[derive(Module, Debug)]
struct SelfAttention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    products: Products,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: HiddenAct,
}

#[derive(Module, Debug)]
struct EncoderLayer {
    self_attn: SelfAttention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
}

/// Pre-norm transformer: x + attention(norm(x)), x + mlp(norm(x)), for each layer.
#[derive(Module, Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl EncoderLayer {
    /// Standard deviations as in Radford et al. 2021 (their code's `init_parameters`): narrower for
    /// what adds to the residual stream of a deep tower.
    fn new(config: EncoderConfig, init: &mut Init) -> Self {
        let width = config.width;
        let depth = (2.0 * config.layers as f64).powf(-0.5);
        let input_std = (width as f64).powf(-0.5);
        let residual_std = input_std * depth;
        let inner_std = (2.0 * width as f64).powf(-0.5);
        Self {
            self_attn: SelfAttention {
                k_proj: Linear::normal(width, width, true, input_std, init),
                v_proj: Linear::normal(width, width, true, input_std, init),
                q_proj: Linear::normal(width, width, true, input_std, init),
                out_proj: Linear::normal(width, width, true, residual_std, init),
                heads: config.heads,
                products: init.products(),
            },
            layer_norm1: LayerNorm::new(width, config.epsilon, init),
            mlp: Mlp {
                fc1: Linear::normal(width, config.inner_width, true, inner_std, init),
                fc2: Linear::normal(config.inner_width, width, true, residual_std, init),
                activation: config.activation,
            },
            layer_norm2: LayerNorm::new(width, config.epsilon, init),
        }
    }

    fn forward(&self, x: Tensor<3>, causal: bool) -> Tensor<3> {
        let [x, residual] = fork(x);
        let [x, residual] = fork(add(residual, self.self_attn.forward(self.layer_norm1.forward(x), causal)));
        add(residual, self.mlp.forward(self.layer_norm2.forward(x)))
    }
}

impl SelfAttention {
    fn forward(&self, x: Tensor<3>, causal: bool) -> Tensor<3> {
        let [for_q, for_k, for_v] = fork(x);
        let q = self.q_proj.forward(for_q);
        let k = self.k_proj.forward(for_k);
        let v = self.v_proj.forward(for_v);
        self.out_proj.forward(calotype_kernels::attention(q, k, v, self.heads, causal, self.products))
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let f = match self.activation {
            HiddenAct::QuickGelu => Activation::QuickGelu,
            HiddenAct::Gelu => Activation::Gelu,
        };
        self.fc2.forward(activation(self.fc1.forward(x), f))
    }
}

impl Encoder {
    /// A tower of `config.layers` layers.
    pub fn new(config: EncoderConfig, init: &mut Init) -> Self {
        Self { layers: (0..config.layers).map(|_| EncoderLayer::new(config, init)).collect() }
    }

    /// `x`: `[B, L, width]`; `causal`: position i sees positions 0 to i only.
    pub fn forward(&self, x: Tensor<3>, causal: bool) -> Tensor<3> {
        self.forward_layers(x, causal, 0..self.depth())
    }

    /// [`Encoder::forward`] through some of the layers.
    ///
    /// # Panics
    /// If the tower does not have them.
    pub fn forward_layers(&self, x: Tensor<3>, causal: bool, layers: Range<usize>) -> Tensor<3> {
        self.layers[layers].iter().fold(x, |x, layer| layer.forward(x, causal))
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }
}
