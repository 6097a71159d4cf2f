//! A denoiser, and the text encoder that is trained with it.

use std::path::Path;

use burn::module::Module;

use super::DenoiserInTraining;
use super::base_model::BaseModel;
use crate::denoiser::Denoiser;
use crate::error::Result;
use crate::text_encoder::ClipText;

/// What the names of the text encoder's parameters begin with in [`DenoiserWithText`].
pub(super) const TEXT_ENCODER: &str = "text_encoder.";

/// Both networks.
#[derive(Module, Debug)]
pub struct DenoiserWithText {
    /// The denoiser.
    pub denoiser: Denoiser,
    /// The text encoder: what is said in captions may be represented as pictures need it, not as CLIP's loss does.
    pub text_encoder: ClipText,
}

impl DenoiserWithText {
    /// Both as `base` has them.
    pub fn new(base: &BaseModel) -> Self {
        Self { denoiser: base.model.denoiser.network.clone(), text_encoder: base.text().clone() }
    }
}

impl DenoiserInTraining for DenoiserWithText {
    fn denoiser(&self, _: &BaseModel) -> Denoiser {
        self.denoiser.clone()
    }

    fn text(&self, _: &BaseModel) -> Option<ClipText> {
        Some(self.text_encoder.clone())
    }

    fn save(&self, base: &BaseModel, model: &Path) -> Result<()> {
        base.save_with(&self.denoiser, Some(&self.text_encoder), model)
    }
}
