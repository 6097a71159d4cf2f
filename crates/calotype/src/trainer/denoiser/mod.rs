//! Trains a denoiser on the latents of a trained autoencoder, steered by a trained text tower.

pub mod base_model;
pub mod draws;
pub mod latent_cache;
pub mod lora;
pub mod objective;
mod recompute;
mod text_doubts;

use std::marker::PhantomData;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::damage::Damage;
use super::data_parallel::{BatchGradients, batch_gradients};
use super::preflight::Report;
use super::recipe::{Recipe, TrainingRecipe};
use super::settings::Settings;
use super::training_loop::{self, Session};
use super::{Preflight, preflight};
use crate::data::source::TrainingSet;
use crate::denoiser::Unet;
use crate::error::Result;
use crate::runs::folder::TrainedPart;
use crate::text_encoder::ClipText;
use crate::trainer::objective::{Batch, Input, InputKind, Objective, ShareLoss, Watch};
use base_model::BaseModel;
use latent_cache::Encoding;
use lora::LoraInTraining;
use objective::{Denoising, Latents};
use recompute::recomputed;

/// What is trained of a denoiser: all of its U-Net, or a low-rank change.
pub trait DenoiserInTraining: Module + Sync {
    /// The U-Net as it stands.
    fn unet(&self, base: &BaseModel) -> Unet;

    /// The text tower as it stands; `None` if it stays what it was.
    fn text(&self, base: &BaseModel) -> Option<ClipText>;

    /// Writes what was trained into a model folder.
    ///
    /// # Errors
    /// `Error::Io`.
    fn save(&self, base: &BaseModel, model: &Path) -> Result<()>;
}

impl DenoiserInTraining for Unet {
    fn unet(&self, _: &BaseModel) -> Unet {
        self.clone()
    }

    fn text(&self, _: &BaseModel) -> Option<ClipText> {
        None
    }

    fn save(&self, base: &BaseModel, model: &Path) -> Result<()> {
        base.save_with(self, model)
    }
}

/// Minimises E‖ε − ε_θ(z_t, t, c)‖² (Ho et al. 2020, Eq. 14), or what the recipe asks for in its place, and writes
/// `model/unet/`, `model/scheduler/` and `model/model_index.json`, or `model/lora.safetensors`. Autoencoder and text
/// tower stay as they are.
///
/// # Errors
/// As [`training_loop::train`] and [`LatentCache::fill`](latent_cache::LatentCache::fill).
pub fn train<W: Watch<Unet> + Watch<LoraInTraining>>(
    recipe: &Recipe,
    base: &BaseModel,
    data: &TrainingSet,
    device: &Device,
    session: Session,
    watch: &W,
) -> Result<Option<Report>> {
    match &recipe.diffusion()?.lora {
        None => train_network(recipe, base, data, base.unet.network.clone(), session, watch),
        Some(lora) => {
            let network = LoraInTraining::new(base, lora, recipe, device)?;
            train_network(recipe, base, data, network, session, watch)
        }
    }
}

/// Checks before anything is encoded for hours, then fills the caches and trains.
fn train_network<N: DenoiserInTraining>(
    recipe: &Recipe,
    base: &BaseModel,
    data: &TrainingSet,
    network: N,
    session: Session,
    watch: &dyn Watch<N>,
) -> Result<Option<Report>> {
    let precision = recipe.diffusion()?.training.precision;
    let objective = Denoising::new(recipe, base, data, session.device)?;
    let begun = session.run.has_begun(TrainedPart::Diffusion)?;
    let only = session.preflight == Preflight::Only;
    if only || (session.preflight == Preflight::Before && !begun) {
        let of = Of { denoising: &objective, network: PhantomData };
        let report = preflight::check(&of, &network, session.threads)?;
        if only {
            return Ok(Some(report));
        }
        report.refuse_faults(session.progress)?;
    }
    let Session { device, threads, progress, .. } = session;
    let objective = objective.with_caches(&session, Encoding { device, precision, threads, progress })?;
    let session = Session { preflight: Preflight::Skip, ..session };
    minimise(recipe, &objective, network, session, watch)
}

/// Trains `network` for an objective that is made already, and writes it.
///
/// # Errors
/// As [`training_loop::train`].
pub fn minimise<N: DenoiserInTraining>(
    recipe: &Recipe,
    objective: &Denoising,
    network: N,
    session: Session,
    watch: &dyn Watch<N>,
) -> Result<Option<Report>> {
    let objective = Of { denoising: objective, network: PhantomData };
    let data = objective.denoising.data;
    let settings = Settings::new(recipe, data, recipe.diffusion()?.identity());
    let damage = Damage::of(data, &recipe.data);
    training_loop::train_and_save(session, &objective, network, &settings, damage, watch)
}

/// [`Denoising`] of a kind of network.
struct Of<'a, 'b, N> {
    denoising: &'b Denoising<'a>,
    network: PhantomData<fn() -> N>,
}

impl<N: DenoiserInTraining> Objective for Of<'_, '_, N> {
    type Network = N;
    type Share = Latents;

    fn part(&self) -> TrainedPart {
        TrainedPart::Diffusion
    }

    fn training(&self) -> &TrainingRecipe {
        &self.denoising.recipe.training
    }

    fn logged(&self) -> Vec<&'static str> {
        vec!["loss"]
    }

    fn prepare(&self, step: usize) -> Result<Batch<Latents>> {
        self.denoising.prepare(step)
    }

    fn loss(&self, network: &N, _: usize, share: &Latents) -> Result<ShareLoss> {
        self.denoising.loss(network, share)
    }

    fn gradients(
        &self,
        network: &N,
        step: usize,
        batch: &Batch<Latents>,
        threads: usize,
    ) -> Result<BatchGradients> {
        match self.denoising.recipe.gradient_checkpointing {
            true => recomputed(self.denoising, network, step, batch, threads),
            false => {
                let loss = |network: &N, share: &Latents| self.denoising.loss(network, share);
                batch_gradients(network, batch, threads, step, |_| true, loss)
            }
        }
    }

    fn inputs(&self, share: &Latents) -> Result<Vec<Input>> {
        Ok(vec![Input { kind: InputKind::Latent, values: share.z_0.clone() }])
    }

    fn doubts(&self) -> Result<Vec<String>> {
        Ok(text_doubts::doubts(&self.denoising.base.text.network))
    }

    fn save(&self, network: &N, model: &Path) -> Result<()> {
        network.save(self.denoising.base, model)
    }
}
