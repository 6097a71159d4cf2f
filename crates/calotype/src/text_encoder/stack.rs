//! From prompts to what the U-Net is told: one text encoder, or SDXL's two.

use burn::tensor::{Tensor, TensorData};

use crate::error::{Error, Result};
use crate::nn::Component;
use crate::text_encoder::prompt::{self, Chunk, Framing, Piece, TokenPiece};
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::text_encoder::{ClipText, ClipTextConfig};

/// Bytes of a prompt: brackets in brackets take time that grows with its square.
const LONGEST: usize = 1 << 16;

/// A tokenizer and the tower that reads its tokens.
#[derive(Clone)]
pub struct TextTower {
    /// Text to tokens.
    pub tokenizer: ClipTokenizer,
    /// Tokens to features.
    pub encoder: Component<ClipText, ClipTextConfig>,
    /// Learned words (textual inversion): the text that stands for each, and its tokens.
    pub learned: Vec<(String, Vec<u32>)>,
}

/// How prompts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptOptions {
    /// Layers left out at the end of the text encoder for the prompt (not for the negative one), diffusers'
    /// `clip_skip`: 1 is the last but one. SDXL's own features are from the last but one already, and skip as
    /// many more.
    pub clip_skip: usize,
    /// Read a prompt of more tokens than the encoder takes in chunks, instead of cutting it off.
    pub chunks: bool,
    /// Take brackets for what they are, not for weights.
    pub plain: bool,
}

/// All text encoders of a model.
#[derive(Clone)]
pub struct TextStack {
    /// One, or SDXL's two.
    pub towers: Vec<TextTower>,
    /// How prompts are read.
    pub options: PromptOptions,
}

/// What the U-Net is told of a batch of texts.
#[derive(Debug, Clone)]
pub struct TextCondition {
    /// `[B, L, width]`.
    pub context: Tensor<3>,
    /// SDXL's pooled feature, `[B, width]`.
    pub pooled: Option<Tensor<2>>,
}

impl TextCondition {
    /// Both batches as one; `None` where their texts have another number of tokens.
    pub fn followed_by(&self, other: &Self) -> Option<Self> {
        let both = |(a, b): (&Tensor<2>, &Tensor<2>)| Tensor::cat(vec![a.clone(), b.clone()], 0);
        let same = self.context.dims()[1] == other.context.dims()[1];
        same.then(|| Self {
            context: Tensor::cat(vec![self.context.clone(), other.context.clone()], 0),
            pooled: self.pooled.as_ref().zip(other.pooled.as_ref()).map(both),
        })
    }

    /// Zeros for the texts that `zeros` names: SDXL's negative prompt where there is none.
    pub fn with_zeros(self, zeros: &[bool]) -> Self {
        if !zeros.contains(&true) {
            return self;
        }
        let device = self.context.device();
        let kept: Vec<f32> = zeros.iter().map(|&zero| f32::from(u8::from(!zero))).collect();
        let kept = Tensor::<1>::from_data(TensorData::new(kept, [zeros.len()]), &device);
        let [b] = kept.dims();
        Self {
            context: self.context * kept.clone().reshape([b, 1, 1]),
            pooled: self.pooled.map(|pooled| pooled * kept.reshape([b, 1])),
        }
    }
}

impl TextStack {
    /// Width of the features, all encoders together.
    pub fn width(&self) -> usize {
        self.towers.iter().map(|tower| tower.encoder.config.hidden_size).sum()
    }

    /// Whether a prompt is cut off: it has more tokens than the encoder takes, and is not read in chunks.
    pub fn cuts_off(&self, text: &str) -> bool {
        // A longer one is refused, and not looked into.
        text.len() <= LONGEST
            && !self.options.chunks
            && !self.has_breaks(text)
            && self.towers[0].count(text, self.options.plain) > self.longest()
    }

    /// Tokens of text that the encoder takes at once.
    pub fn longest(&self) -> usize {
        self.towers[0].tokenizer.max_length() - 2
    }

    fn has_breaks(&self, text: &str) -> bool {
        !self.options.plain && prompt::parse(text).contains(&Piece::Break)
    }

    /// Features of a batch of texts; the second encoder, if there is one, may read others.
    ///
    /// - `clip_skip`: layers left out at the end, [`PromptOptions::clip_skip`].
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`]; `Error::Argument` for a weight that is not a number.
    pub fn encode(&self, texts: [&[&str]; 2], clip_skip: usize) -> Result<TextCondition> {
        let two = self.towers.len() > 1;
        let mut contexts = Vec::new();
        let mut pooled = None;
        // All texts of a batch, and both encoders, in the same number of chunks.
        let mut chunks = Vec::new();
        for (tower, texts) in self.towers.iter().zip(texts) {
            let of_tower =
                texts.iter().map(|text| tower.chunks(text, self.options)).collect::<Result<Vec<_>>>()?;
            chunks.push(of_tower);
        }
        let count = chunks.iter().flatten().map(Vec::len).max().unwrap_or(1);
        for (tower, chunks) in self.towers.iter().zip(chunks) {
            let chunks: Vec<Vec<Chunk>> =
                chunks.into_iter().map(|chunks| tower.filled_up(chunks, count)).collect::<Result<_>>()?;
            let (context, of_first) = tower.features(&chunks, clip_skip, two)?;
            contexts.push(context);
            pooled = two.then_some(of_first);
        }
        Ok(TextCondition { context: Tensor::cat(contexts, 2), pooled })
    }
}

impl TextTower {
    /// Tokens of a text, without start and end.
    fn ids(&self, text: &str) -> Vec<u32> {
        let framed = |text: &str| {
            let ids = self.tokenizer.encode(text);
            ids[1..ids.len() - 1].to_vec()
        };
        // The learned word that comes first; of several at one place the longest.
        let found = self.learned.iter().filter_map(|(word, ids)| Some((find_word(text, word)?, word, ids)));
        match found.min_by_key(|(at, word, _)| (*at, usize::MAX - word.len())) {
            None => framed(text),
            Some((at, word, ids)) => {
                let mut all = framed(&text[..at]);
                all.extend(ids);
                all.extend(self.ids(&text[at + word.len()..]));
                all
            }
        }
    }

    fn count(&self, text: &str, plain: bool) -> usize {
        pieces(text, plain)
            .iter()
            .map(|piece| if let Piece::Text(t) = piece { self.ids(&t.text).len() } else { 0 })
            .sum()
    }

    /// A text as the encoder takes it: one chunk unless it is long and `options` ask for more, or it has breaks.
    fn chunks(&self, text: &str, options: PromptOptions) -> Result<Vec<Chunk>> {
        if text.len() > LONGEST {
            return Err(Error::argument("prompt", format!("at most {LONGEST} bytes"), text.len()));
        }
        let pieces = pieces(text, options.plain);
        let mut tokens = Vec::new();
        for piece in &pieces {
            tokens.push(match piece {
                Piece::Break => TokenPiece::Break,
                Piece::Text(text) if !text.weight.is_finite() => {
                    return Err(Error::argument("prompt", "weights that are numbers", text.weight));
                }
                Piece::Text(text) => TokenPiece::Text(self.ids(&text.text), text.weight),
            });
        }
        if !options.chunks && !pieces.contains(&Piece::Break) {
            cut_off(&mut tokens, self.tokenizer.max_length() - 2);
        }
        prompt::chunks(&tokens, &self.framing())
    }

    fn framing(&self) -> Framing {
        let comma = self.tokenizer.encode(",");
        Framing {
            length: self.tokenizer.max_length(),
            start: self.tokenizer.start_id(),
            end: self.tokenizer.end_id(),
            pad: self.tokenizer.pad_id(),
            comma: (comma.len() == 3).then(|| comma[1]),
        }
    }

    /// The same with empty chunks up to `count`.
    fn filled_up(&self, mut chunks: Vec<Chunk>, count: usize) -> Result<Vec<Chunk>> {
        while chunks.len() < count {
            chunks.extend(prompt::chunks(&[], &self.framing())?);
        }
        Ok(chunks)
    }

    /// (features of all chunks one after the other, `[B, chunks·L, width]`; pooled feature of the first chunk).
    fn features(
        &self,
        chunks: &[Vec<Chunk>],
        clip_skip: usize,
        of_two: bool,
    ) -> Result<(Tensor<3>, Tensor<2>)> {
        let network = &self.encoder.network;
        let mut contexts = Vec::new();
        let mut pooled = None;
        for place in 0..chunks.first().map_or(0, Vec::len) {
            let ids: Vec<Vec<u32>> = chunks.iter().map(|chunks| chunks[place].ids.clone()).collect();
            let features = network.forward_skipping(&ids, clip_skip + usize::from(of_two))?;
            let context = match (of_two, clip_skip) {
                // SDXL's towers end before their last layer, without the final norm. Podell et al. 2023, 2.1.
                (true, _) => features.hidden_state,
                (false, 0) => features.last_hidden_state,
                (false, _) => network.normalise(features.hidden_state),
            };
            pooled.get_or_insert(features.pooled);
            let weights: Vec<&[f64]> = chunks.iter().map(|chunks| &chunks[place].weights[..]).collect();
            contexts.push(weighted(context, &weights));
        }
        let pooled = pooled.ok_or_else(|| Error::argument("prompts", "at least one", 0))?;
        Ok((Tensor::cat(contexts, 1), pooled))
    }
}

fn pieces(text: &str, plain: bool) -> Vec<Piece> {
    match plain {
        true => vec![Piece::Text(prompt::WeightedText { text: text.to_owned(), weight: 1.0 })],
        false => prompt::parse(text),
    }
}

/// Keeps the first `most` tokens.
fn cut_off(tokens: &mut [TokenPiece], most: usize) {
    let mut left = most;
    for piece in tokens {
        if let TokenPiece::Text(ids, _) = piece {
            ids.truncate(left);
            left -= ids.len();
        }
    }
}

/// Where `word` stands in `text` by itself, not as a part of a longer word.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let places = text.match_indices(word).map(|(at, _)| at);
    places.into_iter().find(|&at| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let joined_before = inside(before) && inside(word.chars().next());
        let joined_after = inside(after) && inside(word.chars().next_back());
        !joined_before && !joined_after
    })
}

/// Each token's feature times its weight, the mean over a text's features kept: AUTOMATIC1111's emphasis.
fn weighted(context: Tensor<3>, weights: &[&[f64]]) -> Tensor<3> {
    if weights.iter().copied().flatten().all(|&weight| weight == 1.0) {
        return context;
    }
    let [b, l, _] = context.dims();
    let values: Vec<f32> = weights.iter().copied().flatten().map(|&weight| weight as f32).collect();
    let weights = Tensor::<3>::from_data(TensorData::new(values, [b, l, 1]), &context.device());
    let mean = |x: &Tensor<3>| x.clone().mean_dim(2).mean_dim(1); // [B, 1, 1]
    let weighted = context.clone() * weights;
    let restore = mean(&context) / mean(&weighted);
    weighted * restore
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_words_stand_alone() {
        assert_eq!(find_word("a sks dog", "sks"), Some(2));
        assert_eq!(find_word("desks and sks", "sks"), Some(10));
        assert_eq!(find_word("a <cat-toy>!", "<cat-toy>"), Some(2));
        assert_eq!(find_word("asks", "sks"), None);
    }

    #[test]
    fn weights_keep_the_mean() {
        let device = burn::tensor::Device::flex();
        let values: Vec<f32> = (0..2 * 3 * 4).map(|i| i as f32 + 1.0).collect();
        let context = Tensor::<3>::from_data(TensorData::new(values, [2, 3, 4]), &device);
        let out = weighted(context.clone(), &[&[1.0, 2.0, 1.0], &[1.0, 1.0, 1.0]]);
        let means = |x: Tensor<3>| x.mean_dim(2).mean_dim(1).into_data().iter::<f32>().collect::<Vec<_>>();
        for (got, expected) in means(out.clone()).into_iter().zip(means(context.clone())) {
            assert!((got - expected).abs() < 1e-4);
        }
        // The second text has no weights and stays as it is.
        let difference: f32 = (out - context).narrow(0, 1, 1).abs().max().into_scalar();
        assert!(difference < 1e-5);
    }
}
