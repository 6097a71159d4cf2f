//! `model_index.json`, which makes a folder a pipeline.

use serde_json::{Value, json};

use crate::files::config_keys::DIFFUSERS_VERSION;
use crate::model::{Beside, ComponentKind};

/// A second text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecondEncoder {
    /// SDXL's.
    Clip,
    /// Flux's.
    T5,
}

/// What the index of a model says.
pub(super) struct ModelIndex<'a> {
    /// The second text encoder: SDXL's, or Flux's.
    pub second: Option<SecondEncoder>,
    /// What the denoiser takes beside the latent.
    pub beside: Beside,
    /// Which denoiser, and its class.
    pub denoiser: (ComponentKind, &'a str),
    /// Class of the autoencoder.
    pub vae: &'a str,
    /// Class of the scheduler.
    pub scheduler: &'a str,
    /// SDXL's `force_zeros_for_empty_prompt`.
    pub zeros_for_no_negative: bool,
}

impl ModelIndex<'_> {
    /// As diffusers writes it.
    pub fn to_json(&self) -> Value {
        let (denoiser, denoiser_class) = self.denoiser;
        let class = match (self.second, self.beside) {
            // diffusers has no pipeline of a Flux transformer that CLIP alone tells: its parts load one by one.
            (None, _) if denoiser == ComponentKind::Transformer => "DiffusionPipeline",
            (None, Beside::Nothing) => "StableDiffusionPipeline",
            (None, _) => "StableDiffusionInpaintPipeline",
            (Some(SecondEncoder::Clip), Beside::Nothing) => "StableDiffusionXLPipeline",
            (Some(SecondEncoder::Clip), _) => "StableDiffusionXLInpaintPipeline",
            (Some(SecondEncoder::T5), Beside::Nothing) => "FluxPipeline",
            (Some(SecondEncoder::T5), Beside::Reference) => "FluxControlPipeline",
            (Some(SecondEncoder::T5), _) => "FluxFillPipeline",
        };
        let mut index = json!({
            "_class_name": class,
            "_diffusers_version": DIFFUSERS_VERSION,
            "feature_extractor": [null, null],
            "image_encoder": [null, null],
            "scheduler": ["diffusers", self.scheduler],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "vae": ["diffusers", self.vae],
        });
        index[denoiser.folder()] = json!(["diffusers", denoiser_class]);
        match self.second {
            Some(SecondEncoder::Clip) => {
                index["text_encoder_2"] = json!(["transformers", "CLIPTextModelWithProjection"]);
                index["tokenizer_2"] = json!(["transformers", "CLIPTokenizer"]);
                index["force_zeros_for_empty_prompt"] = self.zeros_for_no_negative.into();
            }
            Some(SecondEncoder::T5) => {
                index["text_encoder_2"] = json!(["transformers", "T5EncoderModel"]);
                index["tokenizer_2"] = json!(["transformers", "T5TokenizerFast"]);
            }
            None => {
                index["requires_safety_checker"] = false.into();
                index["safety_checker"] = json!([null, null]);
            }
        }
        index.sort_all_objects();
        index
    }
}
