//! All text encoders of a model: from prompts to the `Condition` of a denoiser.

use burn::tensor::{Tensor, TensorData};

use super::prompt::Chunk;
use super::reading::{LearnedWord, PromptOptions, Reading, read};
use super::tokenizer::ClipTokenizer;
use super::{ClipText, ClipTextConfig, T5Tower};
use crate::denoiser::Condition;
use crate::error::{Error, Result};
use crate::nn::Component;

/// Texts encoded at a time; their features do not depend on it.
const AT_ONCE: usize = 16;

/// CLIP's tokenizer and the tower that reads its tokens.
#[derive(Clone)]
pub struct ClipTower {
    /// Text to tokens.
    pub tokenizer: ClipTokenizer,
    /// Tokens to features.
    pub encoder: Component<ClipText, ClipTextConfig>,
    /// Learned words (textual inversion).
    pub learned: Vec<LearnedWord>,
}

/// All text encoders of a model.
#[derive(Clone)]
pub struct TextStack {
    /// CLIP's: one, or SDXL's two, whose features lie side by side.
    pub clip: Vec<ClipTower>,
    /// Flux's second encoder. The context is its features then, and CLIP's only feature is the pooled one.
    pub t5: Option<T5Tower>,
    /// Whether no negative prompt means zeros for features, and not those of the empty text (SDXL).
    pub zeros_for_no_negative: bool,
}

impl TextStack {
    /// One CLIP tower, as in Stable Diffusion 1 and 2.
    pub fn of_clip(tokenizer: ClipTokenizer, encoder: Component<ClipText, ClipTextConfig>) -> Self {
        let tower = ClipTower { tokenizer, encoder, learned: vec![] };
        Self { clip: vec![tower], t5: None, zeros_for_no_negative: false }
    }

    /// CLIP's (first) tower.
    ///
    /// # Panics
    /// If there is none: no model is made without one.
    pub fn first(&self) -> &ClipTower {
        &self.clip[0]
    }

    /// Width of the context: T5's, or that of all CLIP towers together.
    pub fn width(&self) -> usize {
        let of_clip = || self.clip.iter().map(|tower| tower.encoder.config.hidden_size).sum();
        self.t5.as_ref().map_or_else(of_clip, T5Tower::width)
    }

    /// Width of the pooled feature.
    pub fn pooled_width(&self) -> Option<usize> {
        let encoder = &self.clip.last()?.encoder;
        let shared = encoder.network.has_projection().then_some(encoder.config.projection_dim);
        Some(shared.unwrap_or(encoder.config.hidden_size))
    }

    /// Tokens of text that fit into a context.
    pub fn longest(&self) -> usize {
        self.t5.as_ref().map_or_else(|| self.first().longest(), |t5| t5.length - 1)
    }

    /// How prompts are read that are asked to be read so. T5 takes all of a prompt for text, and cuts off what is too
    /// long.
    pub fn options(&self, asked: PromptOptions) -> PromptOptions {
        match self.t5 {
            Some(_) => PromptOptions { clip_skip: 0, chunks: false, plain: true },
            None => asked,
        }
    }

    /// A prompt as it stands in the context: where its words are in [`Condition::context`], and whether its end is cut
    /// off.
    ///
    /// - `texts`: of the first encoder, and of the second, if there is one.
    ///
    /// # Errors
    /// As [`read`] and [`T5Tower::read`].
    pub fn read(&self, texts: [&str; 2], options: PromptOptions) -> Result<Reading> {
        match &self.t5 {
            Some(t5) => t5.read(texts[1]),
            None => self.first().read(texts[0], options),
        }
    }

    /// Features of a batch of texts, and the pooled one of the last CLIP tower. A text's context has as many chunks as
    /// the longest of the batch.
    ///
    /// - `texts`: of the first encoder, and of the second, if there is one.
    ///
    /// # Errors
    /// As [`read`], [`ClipText::forward_skipping`] and [`T5Tower::features`].
    pub fn encode(&self, texts: [&[&str]; 2], options: PromptOptions) -> Result<Condition> {
        let condition = self.encode_by_clip(texts, self.options(options))?;
        match &self.t5 {
            Some(t5) => Ok(Condition { context: t5.features(texts[1])?, ..condition }),
            None => Ok(condition),
        }
    }

    fn encode_by_clip(&self, texts: [&[&str]; 2], options: PromptOptions) -> Result<Condition> {
        let two = self.clip.len() > 1;
        let mut readings = Vec::new();
        for (tower, texts) in self.clip.iter().zip(texts) {
            readings.push(texts.iter().map(|text| tower.read(text, options)).collect::<Result<Vec<_>>>()?);
        }
        // All texts of a batch, and both encoders, in the same number of chunks.
        let count = readings.iter().flatten().map(|reading| reading.chunks.len()).max().unwrap_or(1);
        let mut contexts = Vec::new();
        let mut pooled = None;
        for (tower, readings) in self.clip.iter().zip(readings) {
            let filled = readings.into_iter().map(|reading| reading.filled_up(&tower.tokenizer, count));
            let chunks = filled.map(|reading| Ok(reading?.chunks)).collect::<Result<Vec<_>>>()?;
            let parts = chunks.chunks(AT_ONCE).map(|chunks| tower.features(chunks, options.clip_skip, two));
            let (context, of_first): (Vec<_>, Vec<_>) =
                parts.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            if context.is_empty() {
                return Err(Error::argument("prompts", "at least one", 0));
            }
            contexts.push(Tensor::cat(context, 0));
            pooled = Some(Tensor::cat(of_first, 0));
        }
        Ok(Condition { pooled, ..Condition::of_context(Tensor::cat(contexts, 2)) })
    }
}

impl ClipTower {
    /// Tokens of text that fit into one chunk.
    pub fn longest(&self) -> usize {
        self.tokenizer.max_length() - 2
    }

    /// A prompt as this tower reads it.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self, text: &str, options: PromptOptions) -> Result<Reading> {
        read(&self.tokenizer, &self.learned, text, options)
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
