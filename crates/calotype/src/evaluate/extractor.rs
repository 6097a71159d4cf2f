//! What turns pictures into the numbers that set metrics compare.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::clip_features;
use super::inception_v3::{InceptionV3, Tap, one, weights};
use super::protocol::Protocol;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::files::sha256;
use crate::text_encoder::Clip;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Rows of a batch of pictures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extracted {
    /// `[n, dimension]`, row by row.
    pub features: Vec<f32>,
    /// `[n, classes]`, where the extractor classifies.
    pub logits: Option<Vec<f32>>,
}

/// A network with its preprocessing.
pub trait Extractor {
    /// Numbers in a feature vector.
    fn dimension(&self) -> usize;

    /// Number of classes, if it classifies.
    fn classes(&self) -> Option<usize>;

    /// Everything that a number depends on, for reports: two sides are compared only if this is equal.
    fn protocol(&self) -> Value;

    /// Features of pictures of any size.
    ///
    /// # Errors
    /// Those of the preprocessing and the network.
    fn extract(&self, pictures: &[RgbImage]) -> Result<Extracted>;
}

/// FID's Inception.
pub struct InceptionExtractor {
    /// The network.
    pub network: InceptionV3,
    /// sha256 of its weight file.
    pub sha256: String,
    /// How pictures are prepared.
    pub protocol: Protocol,
    /// Where features are taken.
    pub tap: Tap,
    /// Where it runs.
    pub device: Device,
}

impl InceptionExtractor {
    /// Reads a weight file of pytorch-fid or torch-fidelity.
    ///
    /// # Errors
    /// As [`weights::load`]; `Error::Data` where `tap` needs a classifier that the file does not have.
    pub fn load(weight_file: &Path, protocol: Protocol, tap: Tap, device: &Device) -> Result<Self> {
        let (network, sha256) = weights::load(weight_file, device)?;
        if tap.is_logits() && !network.has_classifier() {
            return Err(Error::data(
                "weights",
                format!("a file with the classifier `fc`, for `features` {tap}"),
                "features only",
            ));
        }
        Ok(Self { network, sha256, protocol, tap, device: device.clone() })
    }
}

impl Extractor for InceptionExtractor {
    fn dimension(&self) -> usize {
        self.tap.dimension()
    }

    fn classes(&self) -> Option<usize> {
        self.network.has_classifier().then_some(super::inception_v3::CLASSES)
    }

    fn protocol(&self) -> Value {
        let features =
            if self.tap.is_logits() { json!(self.tap.name()) } else { json!(self.tap.dimension()) };
        json!({
            "extractor": "inception", "protocol": self.protocol.name(), "features": features,
            "weights_sha256": self.sha256, "resize": self.protocol.resize(), "quantiser": "none: 8-bit files",
        })
    }

    fn extract(&self, pictures: &[RgbImage]) -> Result<Extracted> {
        let prepared = pictures.par_iter().map(|p| self.protocol.prepare(p)).collect::<Result<Vec<_>>>()?;
        let batch = prepared.into_iter().map(|picture| one(picture, &self.device)).collect();
        let batch = Tensor::cat(batch, 0); // [B, 299, 299, 3]
        let taps: &[Tap] =
            if self.network.has_classifier() { &[self.tap, Tap::LogitsUnbiased] } else { &[self.tap] };
        let mut rows = self.network.forward(batch, taps)?.into_iter().map(rows);
        Ok(Extracted { features: rows.next().unwrap_or_default(), logits: rows.next() })
    }
}

/// The numbers of a tensor, row by row.
fn rows(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A CLIP model of the user's own.
pub struct ClipExtractor {
    /// Both towers.
    pub clip: Clip,
    /// Width of the space that they share.
    pub dimension: usize,
    /// Of its text tower.
    pub tokenizer: ClipTokenizer,
    /// sha256 of its weight file.
    pub sha256: String,
    /// Texts that name the classes of its Inception Score.
    pub classes: Vec<String>,
    /// Where it runs.
    pub device: Device,
}

impl ClipExtractor {
    /// CLIP of a model folder: `clip/` and `tokenizer/`.
    ///
    /// # Errors
    /// Those of reading a component and a tokenizer.
    pub fn load(folder: &Path, classes: Vec<String>, device: &Device) -> Result<Self> {
        let clip = checkpoint::clip(&folder.join("clip"), device)?;
        Ok(Self {
            dimension: clip.config.projection_dim,
            clip: clip.network,
            tokenizer: ClipTokenizer::load(&folder.join("tokenizer"))?,
            sha256: sha256::of_file(&folder.join("clip/model.safetensors"))?,
            classes,
            device: device.clone(),
        })
    }
}

impl Extractor for ClipExtractor {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes.len())
    }

    fn protocol(&self) -> Value {
        json!({
            "extractor": "clip", "weights_sha256": self.sha256, "features": self.dimension,
            "resize": "none: pictures have the size of the vision tower", "quantiser": "none: 8-bit files",
            "note": "not comparable with published FID or IS",
        })
    }

    fn extract(&self, pictures: &[RgbImage]) -> Result<Extracted> {
        let features = clip_features::of_images(&self.clip, pictures, &self.device)?;
        let texts = &self.classes;
        let logits = clip_features::class_logits(&self.clip, &self.tokenizer, pictures, texts, &self.device)?;
        Ok(Extracted { features: features.rows, logits: Some(logits) })
    }
}
