//! `model_index.json`, which makes a folder a pipeline.

use serde_json::{Value, json};

use crate::files::config_keys::DIFFUSERS_VERSION;
use crate::model::ComponentKind;

/// What the index of a Stable Diffusion says.
pub(super) struct ModelIndex<'a> {
    /// Whether the model is an SDXL, with two text encoders.
    pub two_text_encoders: bool,
    /// Whether the denoiser takes a mask and the masked picture beside the latent.
    pub inpaints: bool,
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
        let class = match (self.two_text_encoders, self.inpaints) {
            (false, false) => "StableDiffusionPipeline",
            (false, true) => "StableDiffusionInpaintPipeline",
            (true, false) => "StableDiffusionXLPipeline",
            (true, true) => "StableDiffusionXLInpaintPipeline",
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
        let (denoiser, class) = self.denoiser;
        index[denoiser.folder()] = json!(["diffusers", class]);
        if self.two_text_encoders {
            index["text_encoder_2"] = json!(["transformers", "CLIPTextModelWithProjection"]);
            index["tokenizer_2"] = json!(["transformers", "CLIPTokenizer"]);
            index["force_zeros_for_empty_prompt"] = self.zeros_for_no_negative.into();
        } else {
            index["requires_safety_checker"] = false.into();
            index["safety_checker"] = json!([null, null]);
        }
        index.sort_all_objects();
        index
    }
}
