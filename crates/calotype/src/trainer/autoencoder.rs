//! Trains the autoencoder, then measures its latents.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use super::damage::Damage;
use super::data_parallel::scalar;
use super::latent_statistics::LatentStatistics;
use super::objective::{Batch, Input, InputKind, Objective, ShareLoss, Watch};
use super::preflight::Report;
use super::recipe::{AdversarialRecipe, Recipe, TrainingRecipe, VaeRecipe};
use super::settings::Settings;
use super::training_loop::{self, Session};
use crate::autoencoder::loss::{autoencoder_loss, beta_at};
use crate::autoencoder::lpips::{self, Lpips};
use crate::autoencoder::{
    AutoencoderConfig, AutoencoderKl, DiagonalGaussian, PatchDiscriminator, Vae, discriminator,
};
use crate::checkpoint::{self, Part, StoredPart, diffusers_folder};
use crate::data::source::TrainingSet;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::nn::layout::channels_first;
use crate::nn::{Compute, Init, parameters};
use crate::rng::{Philox, Purpose};
use crate::runs::folder::TrainedPart;

/// ln σ² of the posterior at the start: σ ≈ 0.05.
const INITIAL_LOGVAR: f32 = -6.0;

/// The autoencoder and what judges it.
#[derive(Module, Debug)]
pub struct AutoencoderInTraining {
    /// What is kept in the end.
    pub autoencoder: AutoencoderKl,
    /// What tells its pictures from real ones.
    pub discriminator: Option<PatchDiscriminator>,
}

/// Minimises reconstruction + β · KL, with LPIPS and a discriminator where the recipe asks for them, and writes
/// `model/vae/`.
///
/// # Errors
/// As [`training_loop::train`], and those of `data`; `Error::Io` and others for a base model or LPIPS weights that
/// cannot be read.
pub fn train(
    recipe: &Recipe,
    data: &TrainingSet,
    device: &Device,
    session: Session,
    watch: &dyn Watch<AutoencoderInTraining>,
) -> Result<Option<Report>> {
    let vae = recipe.vae()?;
    let compute = &vae.training.compute(device)?;
    let (autoencoder, config) = start(recipe, compute)?;
    let discriminator = vae.adversarial.as_ref().map(|adversarial| {
        let AdversarialRecipe { channels, layers, .. } = *adversarial;
        PatchDiscriminator::new(channels, layers, &mut Init::random(recipe.seed.wrapping_add(3), compute))
    });
    let perceptual = vae.perceptual.as_ref();
    let lpips = perceptual.map(|perceptual| {
        Ok(lpips::weights::load(&[perceptual.backbone.clone(), perceptual.linear.clone()], compute)?
            .tracked())
    });
    let objective = Reconstructing {
        recipe: vae,
        seed: recipe.seed,
        config: config.clone(),
        data,
        device: device.clone(),
        lpips: lpips.transpose()?,
    };
    let network = AutoencoderInTraining { autoencoder, discriminator };
    let settings = Settings::new(recipe, data, vae.identity());
    let damage = Damage::of(data, &recipe.data);
    training_loop::train_and_save(session, &objective, network, &settings, damage, watch)
}

/// The network at the first step: random, or the recipe's model.
fn start(recipe: &Recipe, compute: &Compute) -> Result<(AutoencoderKl, AutoencoderConfig)> {
    match &recipe.model {
        Some(model) => match checkpoint::vae(StoredPart::find(model, Part::Vae)?, compute)? {
            Vae::Kl { network, config } => Ok((network, config)),
            Vae::Tiny { .. } => Err(Error::Config {
                path: recipe.path().to_owned(),
                key: "model".into(),
                expected: "one with an AutoencoderKL".into(),
                got: format!("`{}`, whose autoencoder is a tiny one", model.display()),
            }),
        },
        None => {
            let config = recipe.vae()?.config(recipe.data.size as usize);
            let network = AutoencoderKl::new(&config, &mut Init::random(recipe.seed, compute))?;
            Ok((network.with_initial_logvar(INITIAL_LOGVAR), config))
        }
    }
}

/// The objective of an autoencoder.
pub struct Reconstructing<'a> {
    recipe: &'a VaeRecipe,
    seed: u64,
    config: AutoencoderConfig,
    data: &'a TrainingSet,
    device: Device,
    lpips: Option<Lpips>,
}

/// Pictures, and the position of the first in the run.
pub struct Pictures {
    first: u64,
    images: Vec<RgbImage>,
}

impl Reconstructing<'_> {
    fn latent_shape(&self, images: &[RgbImage]) -> [usize; 3] {
        let (width, height) = images.first().map_or((0, 0), RgbImage::dimensions);
        let f = self.config.downsampling();
        [self.config.latent_channels, height as usize / f, width as usize / f]
    }

    /// Weighted LPIPS, `[1]`, if the recipe asks for it.
    fn perceptual(&self, x: &Tensor<4>, reconstruction: &Tensor<4>) -> Result<Option<Tensor<1>>> {
        let (Some(lpips), Some(perceptual)) = (&self.lpips, &self.recipe.perceptual) else {
            return Ok(None);
        };
        let distance = lpips.distance(x.clone(), reconstruction.clone())?.mean();
        Ok(Some(distance * perceptual.weight))
    }

    /// The weight at which the discriminator's gradient is as long as that of the error, at the decoder's last
    /// layer. Esser et al. 2021, Eq. 7.
    fn adaptive_weight(
        &self,
        weight: f64,
        network: &AutoencoderInTraining,
        judge: &PatchDiscriminator,
        features: &Tensor<4>,
        x: &Tensor<4>,
    ) -> Result<f64> {
        // Each loss has a graph of its own: a graph is differentiated once.
        let gradient = |loss: &dyn Fn(Tensor<4>) -> Result<Tensor<1>>| -> Result<Vec<f64>> {
            let last = parameters::tracked(network.autoencoder.last_layer());
            let loss = loss(channels_first(last.forward(features.clone().detach())))?;
            let gradient = last.weight.val().grad(&loss.backward());
            Ok(gradient.map_or(vec![], |gradient| gradient.into_data().iter::<f64>().collect()))
        };
        let of_error = gradient(&|reconstruction| {
            let error = self.recipe.reconstruction.error(x.clone(), reconstruction.clone());
            Ok(match self.perceptual(x, &reconstruction)? {
                Some(lpips) => error + lpips,
                None => error,
            })
        })?;
        let of_judge =
            gradient(&|reconstruction| Ok(discriminator::generator(judge.forward(reconstruction))))?;
        Ok(discriminator::adaptive_weight(&of_error, &of_judge, weight))
    }
}

impl Objective for Reconstructing<'_> {
    type Network = AutoencoderInTraining;
    type Share = Pictures;

    fn part(&self) -> TrainedPart {
        TrainedPart::Vae
    }

    fn training(&self) -> &TrainingRecipe {
        &self.recipe.training
    }

    fn logged(&self) -> Vec<&'static str> {
        let mut names = vec!["loss", "reconstruction", "kl"];
        names.extend(self.recipe.perceptual.as_ref().map(|_| "lpips"));
        if self.recipe.adversarial.is_some() {
            names.extend(["adversarial", "adaptive_weight", "discriminator"]);
        }
        names
    }

    fn trains(&self, name: &str) -> bool {
        let encodes = ["autoencoder.encoder.", "autoencoder.quant_conv."];
        !(self.recipe.decoder_only && encodes.iter().any(|start| name.starts_with(start)))
    }

    fn prepare(&self, step: usize) -> Result<Batch<Pictures>> {
        let damaged = if step == 0 { self.data.left_out().to_vec() } else { vec![] };
        let (mut items, mut damaged, mut shares) = (vec![], damaged, vec![]);
        for positions in self.recipe.training.positions(step) {
            let (first, mut images) = (positions.start, Vec::new());
            for n in positions {
                let item = self.data.item(n)?;
                images.push(item.image);
                items.push(item.name);
                damaged.extend(item.damaged);
            }
            shares.push(Pictures { first, images });
        }
        Ok(Batch { shares, items, captions: vec![], damaged })
    }

    fn loss(&self, network: &AutoencoderInTraining, step: usize, share: &Pictures) -> Result<ShareLoss> {
        let vae = self.recipe;
        let beta = beta_at(step, vae.beta, vae.beta_warm_up);
        let x = to_tensor(&share.images, &self.device)?.autodiff();
        let posterior = network.autoencoder.encode(x.clone())?;
        let shape = self.latent_shape(&share.images);
        let noise = posterior_noise(self.seed, share.first, share.images.len(), shape, &self.device);
        let features = network.autoencoder.decode_features(posterior.sample(noise));
        let reconstruction = channels_first(network.autoencoder.last_layer().forward(features.clone()));
        let loss = autoencoder_loss(vae.reconstruction, x.clone(), reconstruction.clone(), &posterior, beta);

        let mut of_autoencoder = loss.total;
        let mut terms = vec![("reconstruction", loss.reconstruction.clone())];
        if vae.beta > 0.0 && !vae.decoder_only {
            terms.push(("kl", loss.kl.clone()));
        }
        let mut logged = vec![scalar(&loss.reconstruction), scalar(&loss.kl)];
        if let Some(lpips) = self.perceptual(&x, &reconstruction)? {
            logged.push(scalar(&lpips));
            of_autoencoder = of_autoencoder + lpips.clone();
            terms.push(("lpips", lpips));
        }
        let mut total = of_autoencoder.clone();
        if let (Some(adversarial), Some(network_d)) = (&vae.adversarial, &network.discriminator) {
            if step < adversarial.start {
                logged.extend([0.0, 0.0, 0.0]);
            } else {
                // The judge of the autoencoder is a constant: its own loss comes from pictures alone.
                let judge = parameters::tracked_where(network_d, |_| false);
                let weight = self.adaptive_weight(adversarial.weight, network, &judge, &features, &x)?;
                let judged = discriminator::generator(judge.forward(reconstruction.clone()));
                let real = network_d.forward(x);
                let fake = network_d.forward(reconstruction.detach());
                let told_apart = discriminator::hinge(real, fake);
                logged.extend([scalar(&judged), weight, scalar(&told_apart)]);
                of_autoencoder = of_autoencoder + judged.clone() * weight;
                total = of_autoencoder.clone() + told_apart.clone();
                terms.extend([("adversarial", judged), ("discriminator", told_apart)]);
            }
        }
        // The discriminator's own loss is not the autoencoder's.
        logged.insert(0, scalar(&of_autoencoder));
        Ok(ShareLoss { total, terms, logged })
    }

    fn inputs(&self, share: &Pictures) -> Result<Vec<Input>> {
        let values = to_tensor(&share.images, &self.device)?.into_data().iter::<f32>().collect();
        Ok(vec![Input { kind: InputKind::Picture, values }])
    }

    fn save(&self, network: &AutoencoderInTraining, model: &Path) -> Result<()> {
        let mut config = self.config.clone();
        let folder = model.join("vae");
        // As a reader of the file computes, whatever the training's precision.
        let exact = network.autoencoder.in_f32(&self.config, &self.device)?;
        let statistics = LatentStatistics::measure(&exact, self.data, &self.device)?;
        if !self.recipe.decoder_only {
            // One factor for all channels: what the base had for each no longer fits.
            config.scaling_factor = statistics.scaling_factor;
            (config.shift_factor, config.latents_mean, config.latents_std) = (None, None, None);
        }
        diffusers_folder::save_autoencoder(&folder, &network.autoencoder, &config)?;
        statistics.write(&folder)
    }
}

/// ε of samples `first..first + count` of the run: each has a stream of its own.
fn posterior_noise(seed: u64, first: u64, count: usize, [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (first..first + count as u64)
        .flat_map(|position| Philox::new(seed, Purpose::Posterior, position).normals(c * h * w))
        .collect();
    Tensor::from_data(TensorData::new(values, [count, c, h, w]), device).autodiff()
}

/// The posterior of pictures without a graph.
///
/// # Errors
/// As [`AutoencoderKl::encode`].
pub(super) fn encode(
    network: &AutoencoderKl,
    images: &[RgbImage],
    device: &Device,
) -> Result<DiagonalGaussian> {
    network.encode(to_tensor(images, device)?)
}
