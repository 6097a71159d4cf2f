//! T5's encoder, which reads the prompt for Flux.
//!
//! Raffel et al. 2020, arXiv:1910.10683, in its version 1.1: a gated feed-forward layer, no biases, and positions only
//! as a bias of attention.

mod attention;
pub mod config;
mod feed_forward;
pub mod tokenizer;
pub mod tower;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use calotype_kernels::add;

use crate::error::{Error, Result};
use crate::nn::{Embedding, Init, RmsNorm};
use attention::SelfAttention;
pub use config::T5Config;
use feed_forward::GatedFeedForward;
pub use tokenizer::T5Tokenizer;
pub use tower::T5Tower;

/// transformers' `T5EncoderModel`: tokens to features. No token is hidden from another: padding is read too.
#[derive(Module, Debug)]
pub struct T5Encoder {
    shared: Embedding,
    encoder: Stack,
    #[module(skip)]
    vocab_size: usize,
}

#[derive(Module, Debug)]
struct Stack {
    block: Vec<Block>,
    final_layer_norm: RmsNorm,
}

#[derive(Module, Debug)]
struct Block {
    sublayer_0: AttentionLayer,
    sublayer_1: FeedForwardLayer,
}

#[derive(Module, Debug)]
struct AttentionLayer {
    self_attention: SelfAttention,
    layer_norm: RmsNorm,
}

#[derive(Module, Debug)]
struct FeedForwardLayer {
    dense_relu_dense: GatedFeedForward,
    layer_norm: RmsNorm,
}

impl T5Encoder {
    /// Random weights, as transformers begins.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn new(config: &T5Config, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let norm = |init: &mut Init| RmsNorm::new(config.d_model, config.layer_norm_epsilon, init);
        let shared = Embedding::normal(config.vocab_size, config.d_model, 1.0, init);
        let block = |i: usize| Block {
            sublayer_0: AttentionLayer {
                self_attention: SelfAttention::new(config, i == 0, init),
                layer_norm: norm(init),
            },
            sublayer_1: FeedForwardLayer {
                dense_relu_dense: GatedFeedForward::new(config, init),
                layer_norm: norm(init),
            },
        };
        let block = (0..config.num_layers).map(block).collect();
        let encoder = Stack { block, final_layer_norm: norm(init) };
        Ok(Self { shared, encoder, vocab_size: config.vocab_size })
    }

    /// `input_ids`: `B` rows of L tokens, all of one length. Returns `[B, L, d_model]`.
    ///
    /// # Errors
    /// `Error::Shape` for rows of different length or without a token; `Error::Argument` for a token outside of the
    /// vocabulary.
    pub fn forward(&self, input_ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        let [b, l] = self.check(input_ids)?;
        let device = self.shared.weight.device();
        let ids: Vec<i64> = input_ids.iter().flatten().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, l]), &device);
        let mut x = self.shared.rows(ids); // [B, L, d_model]
        let mut bias = None;
        for block in &self.encoder.block {
            let AttentionLayer { self_attention, layer_norm } = &block.sublayer_0;
            // The first block's bias is every block's.
            let bias = bias.get_or_insert_with(|| self_attention.position_bias(l));
            x = add(x.clone(), self_attention.forward(layer_norm.forward(x), bias.clone()));
            let FeedForwardLayer { dense_relu_dense, layer_norm } = &block.sublayer_1;
            x = add(x.clone(), dense_relu_dense.forward(layer_norm.forward(x)));
        }
        Ok(self.encoder.final_layer_norm.forward(x))
    }

    fn check(&self, input_ids: &[Vec<u32>]) -> Result<[usize; 2]> {
        let length = input_ids.first().map_or(0, Vec::len);
        if length == 0 || input_ids.iter().any(|row| row.len() != length) {
            let got = format!("{:?}", input_ids.iter().map(Vec::len).collect::<Vec<_>>());
            return Err(Error::shape("T5's input", "rows of one length, at least 1", got));
        }
        match input_ids.iter().flatten().find(|&&id| id as usize >= self.vocab_size) {
            Some(id) => Err(Error::argument("input_ids", format!("tokens below {}", self.vocab_size), id)),
            None => Ok([input_ids.len(), length]),
        }
    }
}
