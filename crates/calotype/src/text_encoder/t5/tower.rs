//! T5 as a model's text encoder: a text to its features, at one length.

use burn::tensor::Tensor;

use super::{T5Config, T5Encoder, T5Tokenizer};
use crate::error::{Error, Result};
use crate::nn::Component;
use crate::text_encoder::prompt::Chunk;
use crate::text_encoder::reading::{Reading, in_rows, require_length};
use crate::text_encoder::tokenizer::Encoded;

/// What a tower without an encoder expects.
const KNOWN: &str = "one of the texts that were read before T5's encoder was dropped";

/// T5's tokenizer and the encoder that reads its tokens.
#[derive(Clone)]
pub struct T5Tower {
    /// Text to tokens.
    pub tokenizer: T5Tokenizer,
    /// Tokens of every text, padding included: it is read too, so that another length is another picture.
    pub length: usize,
    width: usize,
    features: Features,
}

/// What gives a text's features.
#[derive(Clone)]
enum Features {
    Encoder(Box<T5Encoder>),
    /// Those of some texts, `[1, length, width]`: the encoder, larger than all that a picture needs beside the denoiser,
    /// is gone.
    Known(Vec<(String, Tensor<3>)>),
}

impl T5Tower {
    /// An encoder that reads `length` tokens of each text.
    pub fn new(tokenizer: T5Tokenizer, encoder: Component<T5Encoder, T5Config>, length: usize) -> Self {
        let Component { network, config } = encoder;
        Self { tokenizer, length, width: config.d_model, features: Features::Encoder(Box::new(network)) }
    }

    /// The encoder, unless it was dropped.
    pub fn encoder(&self) -> Option<&T5Encoder> {
        match &self.features {
            Features::Encoder(encoder) => Some(encoder),
            Features::Known(_) => None,
        }
    }

    /// Tokens of a text, [`T5Tower::length`] of them.
    ///
    /// # Errors
    /// As [`T5Tower::read`].
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        require_length(text)?;
        Ok(self.tokenizer.encode_padded(text, self.length)?.ids)
    }

    /// Features of tokens, `[B, L, width]`.
    ///
    /// # Errors
    /// As [`T5Encoder::forward`]; `Error::Argument` where the encoder was dropped.
    pub fn encode(&self, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        let encoder = self.encoder().ok_or_else(|| Error::argument("prompt", KNOWN, "tokens"))?;
        encoder.forward(ids)
    }

    /// Width of the features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// A text as it is read: one chunk, in which nothing has a weight.
    ///
    /// # Errors
    /// `Error::Argument` for a text that is too long to be looked into; `Error::Format` if it cannot be encoded.
    pub fn read(&self, text: &str) -> Result<Reading> {
        require_length(text)?;
        let (spelled, mut words) = self.tokenizer.spell(text)?;
        let read = spelled.len().min(self.length - 1);
        let Encoded { ids, truncated: cut_off } = self.tokenizer.padded(spelled, self.length);
        words.retain(|word| word.tokens.end <= read);
        let tokens = (0..self.length).map(|row| (row < read).then_some(row)).collect();
        let chunks = vec![Chunk { ids, weights: vec![1.0; self.length], tokens }];
        Ok(Reading { words: in_rows(words, &chunks), chunks, cut_off, learned: vec![] })
    }

    /// Features of texts, `[B, length, width]`.
    ///
    /// # Errors
    /// As [`T5Tower::read`]; `Error::Argument` for none, or one that is not among those that were kept.
    pub fn features(&self, texts: &[&str]) -> Result<Tensor<3>> {
        if texts.is_empty() {
            return Err(Error::argument("prompts", "at least one", 0));
        }
        let each = texts.iter().map(|text| self.features_of(text)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(each, 0))
    }

    /// Reads these texts now and drops the encoder: it answers for them alone from here on.
    ///
    /// # Errors
    /// As [`T5Tower::features`].
    pub fn keep_only(&mut self, texts: &[&str]) -> Result<()> {
        let mut known: Vec<(String, Tensor<3>)> = Vec::new();
        for text in texts {
            if !known.iter().any(|(other, _)| other == text) {
                known.push(((*text).to_owned(), self.features_of(text)?));
            }
        }
        self.features = Features::Known(known);
        Ok(())
    }

    fn features_of(&self, text: &str) -> Result<Tensor<3>> {
        match &self.features {
            Features::Encoder(encoder) => encoder.forward(&[self.ids(text)?]),
            Features::Known(known) => {
                let features = known.iter().find(|(other, _)| other == text).map(|(_, features)| features);
                features.cloned().ok_or_else(|| Error::argument("prompt", KNOWN, format!("`{text}`")))
            }
        }
    }
}
