//! Whether CLIP's towers find what belongs together.

use burn::tensor::Device;
use image::RgbImage;

use super::first_pictures;
use crate::data::source::TrainingSet;
use crate::error::Result;
use crate::evaluate::clip_features;
use crate::evaluate::retrieval::retrieval_at;
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::trainer::clip::ClipInTraining;
use crate::trainer::objective::{Observation, Watch};

/// Candidates of the retrieval at most.
const PAIRS: usize = 256;

/// Retrieval at 1 and at 5, both ways, among validation pairs; equal captions are equally right.
pub struct ClipWatch {
    pictures: Vec<RgbImage>,
    captions: Vec<String>,
    tokenizer: ClipTokenizer,
    device: Device,
}

impl ClipWatch {
    /// Reads the first validation pairs.
    ///
    /// # Errors
    /// Those of `data`.
    pub fn new(data: &TrainingSet, tokenizer: ClipTokenizer, device: &Device) -> Result<Self> {
        let (pictures, captions) = first_pictures(data, PAIRS)?;
        Ok(Self { pictures, captions, tokenizer, device: device.clone() })
    }
}

impl Watch<ClipInTraining> for ClipWatch {
    fn look(&self, network: &ClipInTraining, _: usize) -> Result<Observation> {
        let images = clip_features::of_images(&network.clip, &self.pictures, &self.device)?;
        let texts = clip_features::of_texts(&network.clip, &self.tokenizer, &self.captions)?;
        let same = |i: usize, j: usize| self.captions[i] == self.captions[j];
        let mut numbers = Vec::new();
        for k in [1, 5] {
            let found = retrieval_at(k, &images.rows, &texts.rows, images.dimension, same)?;
            numbers.extend([
                (format!("validation_recall_at_{k}_image_to_text"), found.image_to_text),
                (format!("validation_recall_at_{k}_text_to_image"), found.text_to_image),
                (format!("validation_chance_at_{k}"), found.chance),
            ]);
        }
        Ok(Observation { numbers, pictures: vec![] })
    }
}
