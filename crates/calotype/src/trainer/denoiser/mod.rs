//! Trains a denoiser on the latents of a trained autoencoder, steered by a trained text tower.

pub mod base_model;
pub mod draws;
mod encoded;
pub mod latent_cache;
pub mod lora;
pub mod objective;
mod recompute;
pub mod regions;
pub mod samples;
pub mod text_along;

use std::path::Path;

use burn::module::Module;

use super::objective::Watch;
use super::preflight::{self, Findings};
use super::recipe::Recipe;
use super::session::Session;
use super::training_loop;
use crate::data::source::TrainingSet;
use crate::denoiser::Denoiser;
use crate::error::Result;
use crate::text_encoder::ClipText;
use base_model::BaseModel;
use lora::LoraInTraining;
use objective::Denoising;
use text_along::DenoiserWithText;

/// What is trained of a denoiser: all of its weights, those of the text encoder with them, or a low-rank change.
pub trait DenoiserInTraining: Module + Sync {
    /// The denoiser as it stands.
    fn denoiser(&self, base: &BaseModel) -> Denoiser;

    /// The text tower as it stands; `None` if it stays what it was.
    fn text(&self, base: &BaseModel) -> Option<ClipText>;

    /// Writes what was trained into a model folder.
    ///
    /// # Errors
    /// `Error::Io`.
    fn save(&self, base: &BaseModel, model: &Path) -> Result<()>;
}

impl DenoiserInTraining for Denoiser {
    fn denoiser(&self, _: &BaseModel) -> Denoiser {
        self.clone()
    }

    fn text(&self, _: &BaseModel) -> Option<ClipText> {
        None
    }

    fn save(&self, base: &BaseModel, model: &Path) -> Result<()> {
        base.save_with(self, None, model)
    }
}

/// Minimises E‖ε − ε_θ(z_t, t, c)‖² (Ho et al. 2020, Eq. 14), or what the recipe asks for in its place, and writes
/// `model/unet/` or `model/transformer/`, `model/scheduler/` and `model/model_index.json`, or
/// `model/lora.safetensors`. Autoencoder and text tower stay as they are.
///
/// # Errors
/// As [`training_loop::train`], [`Denoising::new`] and [`LoraInTraining::new`].
pub fn train<W: Watch<Denoiser> + Watch<DenoiserWithText> + Watch<LoraInTraining>>(
    recipe: &Recipe,
    base: &BaseModel,
    data: &TrainingSet,
    session: Session,
    watch: &W,
) -> Result<()> {
    let objective = Denoising::new(recipe, base, data, session.device)?;
    let diffusion = recipe.diffusion()?;
    let trained = match &diffusion.lora {
        Some(lora) => {
            let lora = LoraInTraining::new(base, lora, recipe, session.device)?;
            training_loop::train(session, objective, lora, watch)
        }
        None if diffusion.train_text_encoder => {
            training_loop::train(session, objective, DenoiserWithText::new(base), watch)
        }
        None => training_loop::train(session, objective, base.model.denoiser.network.clone(), watch),
    };
    trained.map(|_| ())
}

/// What is wrong with the training that [`train`] would begin, and what it will cost.
///
/// # Errors
/// As [`preflight::check`], [`Denoising::new`] and [`LoraInTraining::new`].
pub fn check(recipe: &Recipe, base: &BaseModel, data: &TrainingSet, session: Session) -> Result<Findings> {
    let objective = Denoising::new(recipe, base, data, session.device)?;
    let diffusion = recipe.diffusion()?;
    match &diffusion.lora {
        Some(lora) => {
            let lora = LoraInTraining::new(base, lora, recipe, session.device)?;
            preflight::check(&objective, &lora, &session)
        }
        None if diffusion.train_text_encoder => {
            preflight::check(&objective, &DenoiserWithText::new(base), &session)
        }
        None => preflight::check(&objective, &base.model.denoiser.network, &session),
    }
}
