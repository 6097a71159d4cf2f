//! Swap choice: does a denoiser know which of two nouns is where? It moves long before pictures do.

use burn::tensor::Device;

use super::VALIDATION_SEED;
use crate::data::source::TrainingSet;
use crate::error::Result;
use crate::rng::{Philox, Purpose};
use crate::trainer::Recipe;
use crate::trainer::denoiser::DenoiserInTraining;
use crate::trainer::denoiser::base_model::BaseModel;
use crate::trainer::denoiser::draws::Draws;
use crate::trainer::denoiser::objective::{Denoising, Latents};

/// Pictures that it is measured on, at most.
const PICTURES: usize = 192;
/// Pictures in a batch.
const BATCH: usize = 32;
/// How noisy they are, as a share of the timesteps: what is where is still open, but not all is noise.
const NOISE: [f64; 4] = [0.6, 0.7, 0.8, 0.9];

/// How often a picture is explained better by its caption than by the one with two nouns exchanged: by which the
/// network's error on it, with the same noise, is smaller. Chance is ½.
pub struct SwapChoice<'a> {
    /// At each noise level.
    objectives: Vec<Denoising<'a>>,
    /// Pictures with their own captions, and with the others.
    pairs: Vec<[Latents; 2]>,
}

impl<'a> SwapChoice<'a> {
    /// On the pictures of `data` of which captions that exchange two nouns are known; `None` if there are none, or noise
    /// has no timesteps. `encoding`: has the autoencoder that the latents are made with.
    ///
    /// # Errors
    /// Those of the data.
    pub fn new(
        recipe: &'a Recipe,
        base: &'a BaseModel,
        data: &'a TrainingSet,
        encoding: &Denoising,
        device: &Device,
    ) -> Result<Option<Self>> {
        if base.model.scheduler.class_name.is_edm() {
            return Ok(None);
        }
        let positions = 0..data.epoch_length().unwrap_or(PICTURES) as u64;
        let exchanged = |n: u64| Some((n, data.pictures().exchanged(data.place(n).picture)?));
        let found: Vec<(u64, String)> = positions.filter_map(exchanged).take(PICTURES).collect();
        let mut pairs = Vec::new();
        for batch in found.chunks(BATCH) {
            let (positions, captions): (Vec<u64>, Vec<String>) = batch.iter().cloned().unzip();
            let own = encoding.latents(&positions)?;
            let other = own.with_captions(&captions, base)?;
            pairs.push([own, other]);
        }
        let at = |&noise: &f64| {
            let objective = Denoising::new(recipe, base, data, device)?.for_validation(VALIDATION_SEED)?;
            Ok(objective.with_draws(AtNoise(noise)))
        };
        let objectives = NOISE.iter().map(at).collect::<Result<_>>()?;
        Ok((!pairs.is_empty()).then_some(Self { objectives, pairs }))
    }

    /// The share, in [0, 1].
    ///
    /// # Errors
    /// As [`Denoising::errors`].
    pub fn of<N: DenoiserInTraining>(&self, network: &N) -> Result<f64> {
        let (mut right, mut all) = (0, 0);
        for pair in &self.pairs {
            // Errors are larger where there is more noise to see through: each level counts the same.
            let mut excess = Vec::new();
            for objective in &self.objectives {
                let [own, other] =
                    [objective.errors(network, &pair[0])?, objective.errors(network, &pair[1])?];
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                excess.resize(own.len(), 0.0);
                let differences = own.iter().zip(&other).map(|(own, other)| (own - other) / mean);
                excess.iter_mut().zip(differences).for_each(|(sum, difference)| *sum += difference);
            }
            right += excess.iter().filter(|&&excess| excess < 0.0).count();
            all += excess.len();
        }
        Ok(f64::from(right as u32) / f64::from(all as u32))
    }
}

/// One noise level, and noise of its own for each position.
struct AtNoise(f64);

impl Draws for AtNoise {
    fn posterior(&self, position: u64, numbers: usize) -> Vec<f32> {
        Philox::new(VALIDATION_SEED, Purpose::Posterior, position).normals(numbers)
    }

    fn noise(&self, position: u64, timesteps: usize, numbers: usize) -> (usize, Vec<f32>) {
        let noise = Philox::new(VALIDATION_SEED, Purpose::TrainingNoise, position).normals(numbers);
        ((self.0 * timesteps as f64) as usize, noise)
    }

    fn offset(&self, _: u64, channels: usize) -> Vec<f32> {
        vec![0.0; channels]
    }

    fn flow_time(&self, _: u64) -> f64 {
        self.0
    }

    fn sigma(&self, _: u64) -> f64 {
        1.0
    }
}
