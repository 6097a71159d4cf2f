//! Features and class logits from a CLIP model.
//!
//! Distances on these features are `fd-clip` and `is-clip`: they depend on the CLIP model that made
//! them and cannot be compared with published FID or Inception Scores.

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use crate::data::tensors::to_tensor;
use crate::error::Result;
use crate::text_encoder::Clip;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Pictures embedded at a time; the features do not depend on it.
const BATCH: usize = 32;

/// Unit feature vectors of pictures of the size that the vision tower takes: rows of `dimension`
/// numbers.
#[derive(Debug, Clone)]
pub struct ClipFeatures {
    /// Row after row.
    pub rows: Vec<f32>,
    /// Numbers in a row.
    pub dimension: usize,
}

/// Features of pictures.
///
/// # Errors
/// `Error::Shape` for pictures of another size than the tower's.
pub fn of_images(clip: &Clip, images: &[RgbImage], device: &Device) -> Result<ClipFeatures> {
    let batches = images.chunks(BATCH).map(|batch| clip.embed_images(to_tensor(batch, device)?));
    collect(batches)
}

/// Features of texts.
///
/// # Errors
/// `Error::Shape` if the tokenizer cuts texts later than the tower; `Error::Argument` if it has more tokens.
pub fn of_texts(clip: &Clip, tokenizer: &ClipTokenizer, texts: &[String]) -> Result<ClipFeatures> {
    let batches = texts.chunks(BATCH).map(|batch| {
        let ids: Vec<Vec<u32>> = batch.iter().map(|text| tokenizer.encode_padded(text).ids).collect();
        clip.embed_text(&ids)
    });
    collect(batches)
}

fn collect(batches: impl Iterator<Item = Result<Tensor<2>>>) -> Result<ClipFeatures> {
    let mut features = ClipFeatures { rows: vec![], dimension: 0 };
    for batch in batches {
        let batch = batch?;
        features.dimension = batch.dims()[1];
        features.rows.extend(batch.into_data().iter::<f32>());
    }
    Ok(features)
}

/// Logits of p(class | picture) by zero-shot classification, at the learned temperature, over the texts that
/// name the classes. Radford et al. 2021, section 3.1.2. Rows of `texts.len()` numbers.
///
/// # Errors
/// As [`of_images`] and [`of_texts`].
pub fn class_logits(
    clip: &Clip,
    tokenizer: &ClipTokenizer,
    images: &[RgbImage],
    texts: &[String],
    device: &Device,
) -> Result<Vec<f32>> {
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode_padded(text).ids).collect();
    let classes = clip.embed_text(&ids)?;
    let mut rows = Vec::with_capacity(images.len() * texts.len());
    for batch in images.chunks(BATCH) {
        let logits = clip.logits_per_image(clip.embed_images(to_tensor(batch, device)?)?, classes.clone());
        rows.extend(logits.into_data().iter::<f32>());
    }
    Ok(rows)
}
