//! CLIP's text tower.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use calotype_kernels::add_rows;

use super::ClipTextConfig;
use super::encoder::Encoder;
use crate::error::{Error, Result};
use crate::nn::{Embedding, Init, LayerNorm, Linear};

#[derive(Module, Debug)]
struct TextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

/// transformers' `CLIPTextTransformer`: tokens to features, causal.
#[derive(Module, Debug)]
pub struct ClipText {
    embeddings: TextEmbeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
    #[module(skip)]
    vocab_size: usize,
    #[module(skip)]
    max_length: usize,
    #[module(skip)]
    eos_token_id: Option<u32>,
    #[module(skip)]
    pooled_context: bool,
}

/// What the text tower says about a batch of texts.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// One feature for each token, after the final norm: `[B, L, width]`. The U-Net's context.
    pub last_hidden_state: Tensor<3>,
    /// The feature of each text's end token: `[B, width]`; in the shared space, `[B, projection_dim]`, where
    /// the tower has a projection (SDXL's second one).
    pub pooled: Tensor<2>,
    /// One feature for each token before the last `skipped` layers: `[B, L, width]`.
    pub hidden_state: Tensor<3>,
}

/// Standard deviation of the token embeddings at the start.
///
/// Radford et al. start at 0.02 and train for weeks. In a few hundred steps the contrastive loss then
/// moves all nouns into the three or four directions that tell colours apart, and the features say "red
/// thing", not "apple". Nearly orthogonal tokens keep every word apart from the first step.
const TOKEN_STD: f64 = 1.0;

impl ClipText {
    /// Random weights: token embeddings ~ N(0, 1), those of positions ~ N(0, ½²), the layers as in Radford et al.
    /// 2021's code.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn new(config: &ClipTextConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let width = config.hidden_size;
        Ok(Self {
            embeddings: TextEmbeddings {
                token_embedding: Embedding::normal(config.vocab_size, width, TOKEN_STD, init),
                position_embedding: Embedding::normal(
                    config.max_position_embeddings,
                    width,
                    TOKEN_STD / 2.0,
                    init,
                ),
            },
            encoder: Encoder::new(config.into(), init),
            final_layer_norm: LayerNorm::new(width, config.layer_norm_eps, init),
            text_projection: None,
            vocab_size: config.vocab_size,
            max_length: config.max_position_embeddings,
            eos_token_id: config.eos_token_id,
            pooled_context: config.pooled_context,
        })
    }

    /// The same tower, which says of every token what it says of the end ([`ClipTextConfig::pooled_context`]).
    pub fn with_pooled_context(self) -> Self {
        Self { pooled_context: true, ..self }
    }

    /// transformers' `CLIPTextModelWithProjection`: the pooled feature is in the space that the towers share.
    pub fn with_projection(mut self, config: &ClipTextConfig, init: &mut Init) -> Self {
        let (width, shared) = (config.hidden_size, config.projection_dim);
        self.text_projection = Some(Linear::normal(width, shared, false, (width as f64).powf(-0.5), init));
        self
    }

    /// Whether the pooled feature is projected.
    pub fn has_projection(&self) -> bool {
        self.text_projection.is_some()
    }

    /// `input_ids`: `B` rows of L ≤ `max_position_embeddings` tokens, all of one length.
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`].
    pub fn forward(&self, input_ids: &[Vec<u32>]) -> Result<TextFeatures> {
        self.forward_skipping(input_ids, 0)
    }

    /// [`ClipText::forward`], with the features before the last `skipped` layers as `hidden_state`: "clip skip".
    ///
    /// # Errors
    /// `Error::Shape` for rows of different or too great length; `Error::Argument` for a token
    /// outside the vocabulary, or more layers than there are.
    pub fn forward_skipping(&self, input_ids: &[Vec<u32>], skipped: usize) -> Result<TextFeatures> {
        self.check(input_ids)?;
        let Some(used) = self.encoder.depth().checked_sub(skipped) else {
            let expected = format!("at most the {} layers of the text encoder", self.encoder.depth());
            return Err(Error::argument("clip skip", expected, skipped));
        };
        let device = self.embeddings.token_embedding.weight.device();
        let (b, l) = (input_ids.len(), input_ids[0].len());
        let ids = integers(input_ids.iter().flatten().map(|&id| i64::from(id)).collect(), [b, l], &device);
        let tokens = self.embeddings.token_embedding.rows(ids); // [B, L, D]
        let positions = self.embeddings.position_embedding.weight.val().narrow(0, 0, l).cast(DType::F32);
        let hidden_state = self.encoder.forward_layers(add_rows(tokens, positions), true, 0..used);
        let last = self.encoder.forward_layers(hidden_state.clone(), true, used..self.encoder.depth());
        let last_hidden_state = self.final_layer_norm.forward(last);

        let [_, _, width] = last_hidden_state.dims();
        let at_end = |features: Tensor<3>| self.at_ends(features, input_ids);
        let context = |features: Tensor<3>| {
            if self.pooled_context {
                at_end(features).reshape([b, 1, width]).repeat_dim(1, l)
            } else {
                features
            }
        };
        let pooled = at_end(last_hidden_state.clone());
        let (last_hidden_state, hidden_state) = (context(last_hidden_state), context(hidden_state));
        let pooled = match &self.text_projection {
            Some(projection) => projection.forward(pooled),
            None => pooled,
        };
        Ok(TextFeatures { last_hidden_state, pooled, hidden_state })
    }

    /// The features `[B, L, width]` of the tokens `input_ids` at the end of each text, `[B, width]`: those of the last layer
    /// are the pooled ones, where they are not projected.
    pub fn at_ends(&self, features: Tensor<3>, input_ids: &[Vec<u32>]) -> Tensor<2> {
        let [b, l, width] = features.dims();
        let ends = input_ids.iter().enumerate().map(|(i, ids)| (i * l + self.end(ids)) as i64).collect();
        let ends: Tensor<1, Int> =
            Tensor::from_data(TensorData::new::<i64, _>(ends, [b]), &features.device());
        features.reshape([b * l, width]).select(0, ends)
    }

    /// Adds rows `[n, width]` to the token table, and returns their ids.
    pub fn extend_vocabulary(&mut self, rows: &[f32]) -> Vec<u32> {
        let table = self.embeddings.token_embedding.weight.val();
        let [old, width] = table.dims();
        let added = rows.len() / width;
        let rows = Tensor::<2>::from_data(TensorData::new(rows.to_vec(), [added, width]), &table.device());
        let table = Tensor::cat(vec![table.cast(DType::F32), rows], 0);
        self.embeddings.token_embedding.weight = Param::initialized(ParamId::new(), table);
        self.vocab_size = old + added;
        (old..old + added).map(|id| id as u32).collect()
    }

    /// The final norm, for features of an earlier layer (Stable Diffusion 1 and 2's clip skip).
    pub fn normalise(&self, hidden_state: Tensor<3>) -> Tensor<3> {
        self.final_layer_norm.forward(hidden_state)
    }

    /// Position of the end token: the first one; where the config says 2, the largest id (see
    /// [`ClipTextConfig::eos_token_id`]).
    fn end(&self, ids: &[u32]) -> usize {
        let end = match self.eos_token_id {
            Some(eos) if eos != 2 => eos,
            _ => ids.iter().copied().max().unwrap_or(0),
        };
        ids.iter().position(|&id| id == end).unwrap_or(0)
    }

    fn check(&self, input_ids: &[Vec<u32>]) -> Result<()> {
        let length = input_ids.first().map_or(0, Vec::len);
        if length == 0 || length > self.max_length || input_ids.iter().any(|row| row.len() != length) {
            let got = format!("{:?}", input_ids.iter().map(Vec::len).collect::<Vec<_>>());
            return Err(Error::shape(
                "text tower input",
                format!("rows of one length from 1 to {}", self.max_length),
                got,
            ));
        }
        match input_ids.iter().flatten().find(|&&id| id as usize >= self.vocab_size) {
            Some(id) => Err(Error::argument("input_ids", format!("tokens below {}", self.vocab_size), id)),
            None => Ok(()),
        }
    }
}

fn integers(values: Vec<i64>, shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_context_says_of_every_token_what_it_says_of_the_end() {
        let config = ClipTextConfig {
            vocab_size: 10,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            max_position_embeddings: 5,
            eos_token_id: Some(9),
            ..ClipTextConfig::default()
        };
        let tower = ClipText::new(&config, &mut Init::random(1, &Device::flex())).unwrap();
        let ids = [vec![8, 1, 2, 9, 0], vec![8, 3, 9, 0, 0]];
        let tokens = tower.forward(&ids).unwrap();
        let tower = tower.with_pooled_context();
        let pooled = tower.forward(&ids).unwrap();
        let values = |x: Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
        let token =
            |of: &TextFeatures, at: usize| values(of.last_hidden_state.clone().narrow(1, at, 1).squeeze());
        assert_eq!(values(tokens.pooled.clone()), values(pooled.pooled.clone()));
        for at in 0..5 {
            assert_eq!(token(&pooled, at), values(pooled.pooled.clone()));
        }
        assert_ne!(token(&tokens, 1), values(tokens.pooled));
        // With layers skipped too.
        let skipped = tower.forward_skipping(&ids, 1).unwrap();
        let of_token = |at: usize| values(skipped.hidden_state.clone().narrow(1, at, 1).squeeze());
        assert_eq!(of_token(0), of_token(4));
    }
}
