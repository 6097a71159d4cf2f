//! Trains the autoencoder, then measures its latents.

mod objective;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::objective::Watch;
use super::preflight::{self, Findings};
use super::recipe::Recipe;
use super::session::Session;
use super::training_loop;
use crate::autoencoder::{AutoencoderKl, PatchDiscriminator};
use crate::data::source::TrainingSet;
use crate::error::Result;
pub use objective::{PictureShare, Reconstructing};

/// The autoencoder and what judges it.
#[derive(Module, Debug)]
pub struct AutoencoderInTraining {
    /// What is kept in the end.
    pub autoencoder: AutoencoderKl,
    /// What tells its pictures from real ones.
    pub discriminator: Option<PatchDiscriminator>,
    /// ln of the error's scale, `[1]`, for [`AutoencoderObjective::Ldm`](super::recipe::AutoencoderObjective::Ldm); a part of the loss, not of the model.
    pub logvar: Option<Param<Tensor<1>>>,
}

/// Minimises reconstruction + β · KL or latent diffusion's loss, with LPIPS and a discriminator where the recipe asks
/// for them, and writes `model/vae/`.
///
/// # Errors
/// As [`training_loop::train`] and [`Reconstructing::new`].
pub fn train(
    recipe: &Recipe,
    data: &TrainingSet,
    session: Session,
    watch: &dyn Watch<AutoencoderInTraining>,
) -> Result<()> {
    let (objective, network) = Reconstructing::new(recipe, data, session.device)?;
    training_loop::train(session, objective, network, watch).map(|_| ())
}

/// What is wrong with the training that [`train`] would begin, and what it will cost.
///
/// # Errors
/// As [`preflight::check`] and [`Reconstructing::new`].
pub fn check(recipe: &Recipe, data: &TrainingSet, session: Session) -> Result<Findings> {
    let (objective, network) = Reconstructing::new(recipe, data, session.device)?;
    preflight::check(&objective, &network, &session)
}
