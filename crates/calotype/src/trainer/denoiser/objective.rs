//! What a denoiser learns from: clean latents and captions, noise, and the loss.

use burn::tensor::{Device, Tensor, TensorData};

use super::DenoiserInTraining;
use super::base_model::BaseModel;
use super::draws::{Draws, Seeded};
use super::latent_cache::{Encoding, LatentCache, Posterior, TextCache, posterior_of};
use crate::data::source::{Damaged, TrainingSet};
use crate::denoiser::conditioning::drops_caption;
use crate::diffusion::forward_process::offset_noise;
use crate::diffusion::{NoiseSchedule, PredictionType, Times, TrainingSample};
use crate::error::Result;
use crate::text_encoder::ClipText;
use crate::trainer::data_parallel::scalar;
use crate::trainer::objective::{Batch, ShareLoss};
use crate::trainer::recipe::{DiffusionRecipe, FlowTimes, Recipe};
use crate::trainer::training_loop::Session;

/// The objective of a denoiser, whatever is trained of it.
pub struct Denoising<'a> {
    pub(super) recipe: &'a DiffusionRecipe,
    seed: u64,
    pub(super) base: &'a BaseModel,
    pub(super) data: &'a TrainingSet,
    device: Device,
    schedule: NoiseSchedule,
    draws: Box<dyn Draws + 'a>,
    caption_dropout: f64,
    noise_offset: f64,
    min_snr_gamma: Option<f64>,
    no_caption: Vec<u32>,
    latents: Option<LatentCache>,
    texts: Option<TextCache>,
    /// Pictures that the encoding of the latents could not read; the first batch reports them.
    damaged: Vec<Damaged>,
}

/// Clean latents and captions of some samples.
pub struct Latents {
    positions: Vec<u64>,
    /// Scaled samples of the posteriors, `[B, C, h, w]`.
    pub(super) z_0: Vec<f32>,
    shape: [usize; 4],
    ids: Vec<Vec<u32>>,
}

impl<'a> Denoising<'a> {
    /// The objective of a recipe, with nothing cached.
    ///
    /// # Errors
    /// `Error::Config` for a scheduler that is not understood.
    pub fn new(
        recipe: &'a Recipe,
        base: &'a BaseModel,
        data: &'a TrainingSet,
        device: &Device,
    ) -> Result<Self> {
        let diffusion = recipe.diffusion()?;
        Ok(Self {
            recipe: diffusion,
            seed: recipe.seed,
            base,
            data,
            device: device.clone(),
            schedule: base.scheduler.noise_schedule()?,
            draws: Box::new(Seeded {
                seed: recipe.seed,
                flow_times: diffusion.flow_times,
                shift: base.shift()?,
            }),
            caption_dropout: diffusion.caption_dropout,
            noise_offset: diffusion.noise_offset,
            min_snr_gamma: diffusion.min_snr_gamma,
            damaged: data.left_out().to_vec(),
            no_caption: base.tokenizer.encode_padded("").ids,
            latents: None,
            texts: None,
        })
    }

    /// What a validation measures: every caption, plain noise and equal weights, whatever the recipe, and random
    /// numbers that do not depend on its seed: so runs compare.
    ///
    /// # Errors
    /// As [`BaseModel::shift`].
    pub fn for_validation(self, seed: u64) -> Result<Self> {
        let draws = Seeded { seed, flow_times: FlowTimes::default(), shift: self.base.shift()? };
        let (caption_dropout, noise_offset, min_snr_gamma) = (0.0, 0.0, None);
        Ok(Self { draws: Box::new(draws), caption_dropout, noise_offset, min_snr_gamma, ..self })
    }

    /// The same with other random numbers.
    pub fn with_draws(self, draws: impl Draws + 'a) -> Self {
        Self { draws: Box::new(draws), ..self }
    }

    /// The same with latents and text features from the run's files, if the recipe wants that and the data ends.
    pub(super) fn with_caches(mut self, session: &Session, encoding: Encoding) -> Result<Self> {
        let folder = session.run.cache();
        if self.recipe.cache_latents && self.data.count().is_some() {
            let path = folder.join("latents.store");
            let (latents, damaged) = LatentCache::fill(&path, self.base, self.data, encoding)?;
            self.latents = Some(latents);
            self.damaged.extend(damaged);
        }
        if self.recipe.cache_text && self.data.count().is_some() {
            let mut texts = TextCache::open(&folder.join("captions.store"), self.base, encoding)?;
            let captions = self.data.all().into_iter();
            let mut captions: Vec<String> = captions
                .flat_map(|place| self.data.pictures().captions(place.picture).into_owned())
                .collect();
            captions.push(String::new());
            texts.fill(self.base, &captions, encoding)?;
            self.texts = Some(texts);
        }
        Ok(self)
    }

    /// z₀ of the sample at a position, its caption, its name and what was damaged before it.
    fn sample(&self, n: u64) -> Result<Sample> {
        let encoded = |posterior: Posterior, (width, height): (u32, u32)| {
            let f = self.base.vae.network.downsampling();
            let shape = [height as usize / f, width as usize / f];
            let noise = self.draws.posterior(n, posterior.mean.len());
            let (shifts, scales) = self.base.vae.config.scaling();
            let of = |values: &[f64], i: usize| values[i / (shape[0] * shape[1]) % values.len()] as f32;
            let each = posterior.mean.iter().zip(&posterior.std).zip(noise).enumerate();
            let scaled = each.map(|(i, ((mean, std), z))| (mean + std * z - of(&shifts, i)) * of(&scales, i));
            (shape, scaled.collect::<Vec<f32>>())
        };
        match &self.latents {
            Some(cache) => {
                let (place, posterior) = cache.at(self.data, n)?;
                let (shape, z_0) = encoded(posterior, place.size);
                let caption = self.data.caption(n, place);
                let name = self.data.pictures().name(place.picture);
                Ok(Sample { shape, z_0, caption, name, damaged: vec![] })
            }
            None => {
                let item = self.data.item(n)?;
                let size = item.image.dimensions();
                let (shape, z_0) = encoded(posterior_of(self.base, item.image, &self.device)?, size);
                Ok(Sample { shape, z_0, caption: item.caption, name: item.name, damaged: item.damaged })
            }
        }
    }

    /// The batch of a step; see [`Objective::prepare`].
    ///
    /// # Errors
    /// Those of the data.
    pub fn prepare(&self, step: usize) -> Result<Batch<Latents>> {
        let damaged = if step == 0 { self.damaged.clone() } else { vec![] };
        let mut batch = Batch { shares: vec![], items: vec![], captions: vec![], damaged };
        let channels = self.base.vae.config.latent_channels;
        for positions in self.recipe.training.positions(step) {
            let positions: Vec<u64> = positions.collect();
            let mut latents =
                Latents { shape: [positions.len(), channels, 0, 0], positions, z_0: vec![], ids: vec![] };
            for &n in &latents.positions {
                let sample = self.sample(n)?;
                [latents.shape[2], latents.shape[3]] = sample.shape;
                latents.z_0.extend(sample.z_0);
                latents.ids.push(match drops_caption(self.seed, n, self.caption_dropout) {
                    true => self.no_caption.clone(),
                    false => self.base.tokenizer.encode_padded(&sample.caption).ids,
                });
                batch.captions.push(sample.caption);
                batch.items.push(sample.name);
                batch.damaged.extend(sample.damaged);
            }
            batch.shares.push(latents);
        }
        Ok(batch)
    }

    /// Noise is added to clean latents: what the U-Net is trained on.
    ///
    /// # Errors
    /// As [`TrainingSample::new`].
    pub fn noised(&self, share: &Latents) -> Result<TrainingSample> {
        let [b, c, h, w] = share.shape;
        let tensor = |values: Vec<f32>, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values, shape), &self.device)
        };
        let (mut t, mut noise) = (Vec::with_capacity(b), Vec::with_capacity(b * c * h * w));
        for &position in &share.positions {
            let (timestep, eps) = self.draws.noise(position, self.schedule.num_timesteps(), c * h * w);
            t.push(timestep);
            noise.extend(eps);
        }
        let mut eps = tensor(noise, share.shape);
        if self.noise_offset > 0.0 {
            let z = share.positions.iter().flat_map(|&position| self.draws.offset(position, c)).collect();
            eps = offset_noise(eps, tensor(z, [b, c, 1, 1]), self.noise_offset)?;
        }
        let prediction = self.base.scheduler.prediction_type;
        let times = match prediction {
            PredictionType::Flow => {
                Times::Flow(share.positions.iter().map(|&position| self.draws.flow_time(position)).collect())
            }
            _ => Times::Steps(&self.schedule, t),
        };
        let z_0 = tensor(share.z_0.clone(), share.shape);
        TrainingSample::new(z_0, eps, &times, prediction, self.min_snr_gamma)
    }

    /// Text features of a share, of the text tower as it stands: on an autodiff device where that is trained.
    ///
    /// # Errors
    /// As [`ClipText::forward`].
    pub(super) fn context(&self, text: Option<&ClipText>, share: &Latents) -> Result<Tensor<3>> {
        match (text, &self.texts) {
            (Some(text), _) => BaseModel::encode_text(text, &share.ids),
            (None, Some(texts)) => texts.get(&share.ids, &self.device),
            (None, None) => BaseModel::encode_text(&self.base.text.network, &share.ids),
        }
    }

    /// The loss of one share; see [`Objective::loss`].
    ///
    /// # Errors
    /// As [`Unet::forward`].
    pub fn loss<N: DenoiserInTraining>(&self, network: &N, share: &Latents) -> Result<ShareLoss> {
        let context = self.context(network.text(self.base).as_ref(), share)?.autodiff();
        let sample = self.noised(share)?;
        let unet = network.unet(self.base);
        let predicted = unet.forward(sample.x_t.clone().autodiff(), &sample.timesteps, &context, None)?;
        let total = sample.loss(predicted);
        Ok(ShareLoss { logged: vec![scalar(&total)], terms: vec![("denoising", total.clone())], total })
    }
}

/// One clean latent and what belongs to it.
struct Sample {
    /// Height and width.
    shape: [usize; 2],
    z_0: Vec<f32>,
    caption: String,
    name: String,
    damaged: Vec<Damaged>,
}
