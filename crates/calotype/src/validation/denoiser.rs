//! What a denoiser in training makes of fixed noise and fixed prompts.

use burn::tensor::Device;
use image::RgbImage;

use super::VALIDATION_SEED;
use super::grid::grid;
use super::known_objects::KnownObjects;
use super::swap_choice::SwapChoice;
use crate::data::source::TrainingSet;
use crate::denoiser::Denoiser;
use crate::diffusion::guidance::Guidance;
use crate::error::Result;
use crate::explain::explain;
use crate::explain::heat_map::Baseline;
use crate::explain::overlay::overlay;
use crate::model::Model;
use crate::nn::parameters;
use crate::pipeline::script::Script;
use crate::pipeline::text_to_image::{PictureRequest, Sampling};
use crate::sampler::{SamplerKind, SamplerSettings};
use crate::trainer::Recipe;
use crate::trainer::denoiser::DenoiserInTraining;
use crate::trainer::denoiser::base_model::BaseModel;
use crate::trainer::denoiser::objective::{Denoising, Latents};
use crate::trainer::objective::{Objective, Observation, Watch};

/// Validation samples that the loss is measured on, to whole batches.
const SAMPLES: usize = 64;
/// Steps of the sampler.
const STEPS: usize = 20;
/// Guidance of the pictures.
const GUIDANCE: f64 = 4.0;
/// Seed of their noise: the same at every validation, so that pictures show the training alone.
const SEED: u64 = 1;

/// The loss on validation pictures with fixed noise and timesteps; swap choice; localisation; pictures of the recipe's
/// prompts, and where each word went.
pub struct DenoiserWatch<'a> {
    base: &'a BaseModel,
    objective: Denoising<'a>,
    /// Encoded once: every look is at the same ones.
    shares: Vec<Latents>,
    swap_choice: Option<SwapChoice<'a>>,
    known_objects: Option<KnownObjects>,
    prompts: &'a [String],
    side: usize,
}

impl<'a> DenoiserWatch<'a> {
    /// `data`: the validation pictures.
    ///
    /// # Errors
    /// As [`Denoising::new`] and its [`Objective::prepare`], and [`KnownObjects::new`].
    pub fn new(
        recipe: &'a Recipe,
        base: &'a BaseModel,
        data: &'a TrainingSet,
        device: &Device,
    ) -> Result<Self> {
        let diffusion = recipe.diffusion()?;
        let side = recipe.data.size as usize;
        // A prompt that cannot be read is no reason to stop in the middle of a training.
        Script::of_prompts(&requests(&diffusion.prompts), &sampling(base, side))?;
        let (batch_size, parts) = (diffusion.training.batch_size, diffusion.training.parts);
        let whole = data.epoch_length().map_or(SAMPLES, |length| length.min(SAMPLES));
        let objective = Denoising::new(recipe, base, data, device)?.for_validation(VALIDATION_SEED)?;
        // Runs of different precision are measured on the same latents.
        let exact = base.with_vae_in_f32()?;
        let encoding = Denoising::new(recipe, &exact, data, device)?.for_validation(VALIDATION_SEED)?;
        let mut shares = Vec::new();
        for step in 0..whole.div_ceil(batch_size) {
            shares.extend(Objective::<Denoiser>::prepare(&encoding, step, 0..parts)?.shares);
        }
        let swap_choice = SwapChoice::new(recipe, base, data, &encoding, device)?;
        let known_objects = match diffusion.localisation {
            0 => None,
            count => {
                let read = |text: &str| KnownObjects::words(&base.model, text);
                Some(KnownObjects::new(data, count, recipe.data.size, read)?)
            }
        };
        Ok(Self { base, objective, shares, swap_choice, known_objects, prompts: &diffusion.prompts, side })
    }

    fn loss<N: DenoiserInTraining>(&self, network: &N) -> Result<f64> {
        // Constants of a graph that nobody differentiates.
        let network = parameters::tracked_where(network, |_| false);
        let losses =
            self.shares.iter().map(|share| Ok(self.objective.loss(&network, 0, share)?.logged[0].read()));
        Ok(losses.collect::<Result<Vec<f64>>>()?.iter().sum::<f64>() / self.shares.len().max(1) as f64)
    }

    /// The base with what is trained as it stands.
    fn model<N: DenoiserInTraining>(&self, network: &N) -> Model {
        let mut model = self.base.model.clone();
        model.denoiser.network = network.denoiser(self.base);
        if let (Some(text), [tower]) = (network.text(self.base), &mut model.text.clip[..]) {
            tower.encoder.network = text;
        }
        model
    }

    /// One row for each prompt: the picture, and beside it the heat map of each of its words.
    fn pictures<N: DenoiserInTraining>(&self, network: &N) -> Result<Vec<(String, RgbImage)>> {
        if self.prompts.is_empty() {
            return Ok(vec![]);
        }
        let (requests, sampling) = (requests(self.prompts), sampling(self.base, self.side));
        let explained = explain(&self.model(network), &requests, &sampling, None, Baseline::WordMean)?;
        let samples: Vec<RgbImage> = explained.iter().map(|one| one.image.clone()).collect();
        let maps = explained.iter().map(|one| {
            let maps = one.maps.iter().map(|map| overlay(&one.image, map));
            [Ok(one.image.clone())].into_iter().chain(maps).collect()
        });
        let maps = maps.collect::<Result<Vec<Vec<RgbImage>>>>()?;
        Ok(vec![("samples".into(), grid(&[samples])), ("heat_maps".into(), grid(&maps))])
    }
}

/// A picture for each prompt.
fn requests(prompts: &[String]) -> Vec<PictureRequest> {
    let guidance = Guidance::new(GUIDANCE);
    let prompts = prompts.iter().enumerate();
    prompts.map(|(i, prompt)| PictureRequest::new(prompt, guidance, i as u64)).collect()
}

fn sampling(base: &BaseModel, side: usize) -> Sampling {
    let kind = match base.model.scheduler.class_name {
        class if class.is_flow() => SamplerKind::FlowEuler,
        class if class.is_edm() => SamplerKind::Euler,
        _ => SamplerKind::Ddim,
    };
    Sampling::new(SamplerSettings::new(kind, STEPS), SEED, side)
}

impl<N: DenoiserInTraining> Watch<N> for DenoiserWatch<'_> {
    fn look(&self, network: &N, _: usize) -> Result<Observation> {
        let mut numbers = vec![("validation_loss".into(), self.loss(network)?)];
        if let Some(swap_choice) = &self.swap_choice {
            numbers.push(("validation_swap_choice".into(), swap_choice.of(network)?));
        }
        if let Some(objects) = &self.known_objects {
            let score = objects.score(&self.model(network))?;
            numbers.push(("validation_pointing".into(), score.pointing.rate()));
            numbers.push(("validation_iou".into(), score.iou.mean));
            numbers.push(("validation_mass_over_area".into(), score.mass_over_area.mean));
        }
        Ok(Observation { numbers, pictures: self.pictures(network)? })
    }
}
