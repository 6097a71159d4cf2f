//! What an autoencoder is trained for: pictures, the loss with LPIPS and a discriminator, and what is written.

use std::ops::Range;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use super::AutoencoderInTraining;
use crate::autoencoder::loss::{
    AutoencoderObjective, autoencoder_loss, beta_at, halved, ldm_loss, negative_log_likelihood,
};
use crate::autoencoder::lpips::{self, Lpips};
use crate::autoencoder::{
    AutoencoderConfig, AutoencoderKl, DiagonalGaussian, PatchDiscriminator, Vae, discriminator,
};
use crate::checkpoint::{self, StoredComponent};
use crate::data::source::TrainingSet;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::model::ComponentKind;
use crate::nn::layout::channels_first;
use crate::nn::{Compute, Init, parameters};
use crate::rng::{Philox, Purpose};
use crate::runs::folder::TrainedPart;
use crate::trainer::batch::Batch;
use crate::trainer::latent_statistics::LatentStatistics;
use crate::trainer::objective::{Damage, Input, InputKind, Number, Objective, ShareLoss};
use crate::trainer::recipe::{AdversarialRecipe, Recipe, TrainingRecipe, VaeRecipe};
use crate::trainer::settings::TrainingSettings;

/// ln σ² of the posterior at the start: σ ≈ 0.05.
const INITIAL_LOGVAR: f32 = -6.0;

/// The objective of an autoencoder.
pub struct Reconstructing<'a> {
    recipe: &'a Recipe,
    vae: &'a VaeRecipe,
    config: AutoencoderConfig,
    data: &'a TrainingSet,
    device: Device,
    lpips: Option<Lpips>,
}

/// Pictures, and their positions in the run.
#[derive(Default)]
pub struct PictureShare {
    positions: Vec<u64>,
    images: Vec<RgbImage>,
}

impl<'a> Reconstructing<'a> {
    /// The objective of a recipe, and the network at the first step.
    ///
    /// # Errors
    /// `Error::Io` and others for a base model or LPIPS weights that cannot be read; `Error::Config` for a base model
    /// that cannot be trained.
    pub fn new(
        recipe: &'a Recipe,
        data: &'a TrainingSet,
        device: &Device,
    ) -> Result<(Self, AutoencoderInTraining)> {
        let vae = recipe.vae()?;
        let compute = &vae.training.compute(device)?;
        let (autoencoder, config) = start(recipe, compute)?;
        let discriminator = vae.adversarial.as_ref().map(|adversarial| {
            let AdversarialRecipe { channels, layers, .. } = *adversarial;
            PatchDiscriminator::new(channels, layers, &mut Init::random(recipe.seed.wrapping_add(3), compute))
        });
        let lpips = vae.perceptual.as_ref().map(|perceptual| {
            let files = [perceptual.backbone.clone(), perceptual.linear.clone()];
            Ok(lpips::weights::load(&files, compute)?.tracked())
        });
        let lpips = lpips.transpose()?;
        let logvar = (vae.objective == AutoencoderObjective::Ldm)
            .then(|| Param::from_tensor(Tensor::zeros([1], device)));
        let objective = Self { recipe, vae, config, data, device: device.clone(), lpips };
        Ok((objective, AutoencoderInTraining { autoencoder, discriminator, logvar }))
    }

    fn latent_shape(&self, images: &[RgbImage]) -> [usize; 3] {
        let (width, height) = images.first().map_or((0, 0), RgbImage::dimensions);
        let f = self.config.downsampling();
        [self.config.latent_channels, height as usize / f, width as usize / f]
    }

    /// Weighted LPIPS, `[1]`, if the recipe asks for it.
    fn perceptual(&self, x: &Tensor<4>, reconstruction: &Tensor<4>) -> Result<Option<Tensor<1>>> {
        let (Some(lpips), Some(perceptual)) = (&self.lpips, &self.vae.perceptual) else {
            return Ok(None);
        };
        let distance = lpips.distance(x.clone(), reconstruction.clone())?.mean();
        Ok(Some(distance * perceptual.weight))
    }

    /// The autoencoder's loss but for what a discriminator adds to it.
    fn without_judge(
        &self,
        logvar: Option<Tensor<1>>,
        x: &Tensor<4>,
        reconstruction: &Tensor<4>,
        posterior: &DiagonalGaussian,
        beta: f64,
    ) -> Result<ShareLoss> {
        let (x, reconstruction) = (x.clone(), reconstruction.clone());
        let mut found = match logvar {
            None => {
                let error = self.vae.reconstruction;
                let loss = autoencoder_loss(error, x.clone(), reconstruction.clone(), posterior, beta);
                let logged = vec![Number::of(&loss.reconstruction), Number::of(&loss.kl)];
                let terms = vec![("reconstruction", loss.reconstruction), ("kl", loss.kl)];
                let mut found = ShareLoss { total: loss.total, terms, logged };
                if let Some(lpips) = self.perceptual(&x, &reconstruction)? {
                    found.logged.push(Number::of(&lpips));
                    found.total = found.total + lpips.clone();
                    found.terms.push(("lpips", lpips));
                }
                found
            }
            Some(logvar) => {
                let lpips = self.perceptual(&x, &reconstruction)?;
                let loss = ldm_loss(x, reconstruction, lpips.clone(), logvar.clone(), posterior.kl(), beta);
                let mut logged: Vec<Number> =
                    [&loss.reconstruction, &loss.kl, &loss.nll, &logvar].map(Number::of).to_vec();
                logged.extend(lpips.iter().map(Number::of));
                ShareLoss { total: loss.total, terms: vec![("nll", loss.nll), ("kl", loss.kl)], logged }
            }
        };
        if self.vae.beta == 0.0 || self.vae.decoder_only {
            found.terms.retain(|(name, _)| *name != "kl");
        }
        Ok(found)
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
            let error = self.vae.reconstruction.error(x.clone(), reconstruction.clone());
            let lpips = self.perceptual(x, &reconstruction)?;
            Ok(match (&network.logvar, lpips) {
                (Some(logvar), lpips) => {
                    let numbers = x.dims()[1..].iter().product();
                    negative_log_likelihood(error, lpips, logvar.val().detach(), numbers)
                }
                (None, Some(lpips)) => error + lpips,
                (None, None) => error,
            })
        })?;
        let of_judge =
            gradient(&|reconstruction| Ok(discriminator::generator(judge.forward(reconstruction))))?;
        Ok(discriminator::adaptive_weight(&of_error, &of_judge, weight))
    }
}

impl Objective<AutoencoderInTraining> for Reconstructing<'_> {
    type Share = PictureShare;
    type Settings = TrainingSettings<VaeRecipe>;

    fn part(&self) -> TrainedPart {
        TrainedPart::Vae
    }

    fn training(&self) -> &TrainingRecipe {
        &self.vae.training
    }

    fn settings(&self) -> TrainingSettings<VaeRecipe> {
        TrainingSettings::new(self.recipe, self.data, self.vae.identity())
    }

    fn damage(&self) -> Damage {
        Damage::of(self.data, &self.recipe.data)
    }

    fn logged(&self) -> Vec<&'static str> {
        let mut names = vec!["loss", "reconstruction", "kl"];
        if self.vae.objective == AutoencoderObjective::Ldm {
            names.extend(["nll", "logvar"]);
        }
        names.extend(self.vae.perceptual.as_ref().map(|_| "lpips"));
        if self.vae.scale_equivariance > 0.0 {
            names.push("scale_equivariance");
        }
        if self.vae.adversarial.is_some() {
            names.extend(["adversarial", "adaptive_weight", "discriminator"]);
        }
        names
    }

    fn trains(&self, name: &str) -> bool {
        let encodes = ["autoencoder.encoder.", "autoencoder.quant_conv."];
        !(self.vae.decoder_only && encodes.iter().any(|start| name.starts_with(start)))
    }

    fn prepare(&self, step: usize, shares: Range<usize>) -> Result<Batch<PictureShare>> {
        let (training, left_out, item) = (&self.vae.training, self.data.left_out(), |n| self.data.item(n));
        let add = |share: &mut PictureShare, position, image, _: &str| {
            share.positions.push(position);
            share.images.push(image);
        };
        let batch = Batch::assemble(training, step, shares, left_out, item, add)?;
        Ok(Batch { captions: vec![], ..batch })
    }

    fn loss(&self, network: &AutoencoderInTraining, step: usize, share: &PictureShare) -> Result<ShareLoss> {
        let vae = self.vae;
        let beta = beta_at(step, vae.beta, vae.beta_warm_up);
        let x = to_tensor(&share.images, &self.device)?.autodiff();
        let posterior = network.autoencoder.encode(x.clone())?;
        let shape = self.latent_shape(&share.images);
        let noise = posterior_noise(self.recipe.seed, &share.positions, shape, &self.device);
        let z = posterior.sample(noise);
        let features = network.autoencoder.decode_features(z.clone());
        let reconstruction = channels_first(network.autoencoder.last_layer().forward(features.clone()));
        let logvar = network.logvar.as_ref().map(Param::val);
        let ShareLoss { total: mut of_autoencoder, mut terms, mut logged } =
            self.without_judge(logvar, &x, &reconstruction, &posterior, beta)?;
        if vae.scale_equivariance > 0.0 {
            let half = network.autoencoder.decode(halved(z)?);
            let error = vae.reconstruction.error(halved(x.clone())?, half);
            logged.push(Number::of(&error));
            of_autoencoder = of_autoencoder + error.clone() * vae.scale_equivariance;
            terms.push(("scale_equivariance", error));
        }
        let mut total = of_autoencoder.clone();
        if let (Some(adversarial), Some(network_d)) = (&vae.adversarial, &network.discriminator) {
            if step < adversarial.start {
                logged.extend([0.0, 0.0, 0.0].map(Number::Known));
            } else {
                // The judge of the autoencoder is a constant: its own loss comes from pictures alone.
                let judge = parameters::tracked_where(network_d, |_| false);
                let weight = self.adaptive_weight(adversarial.weight, network, &judge, &features, &x)?;
                let judged = discriminator::generator(judge.forward(reconstruction.clone()));
                let real = network_d.forward(x);
                let fake = network_d.forward(reconstruction.detach());
                let told_apart = adversarial.loss.of(real, fake);
                logged.extend([Number::of(&judged), Number::Known(weight), Number::of(&told_apart)]);
                of_autoencoder = of_autoencoder + judged.clone() * weight;
                total = of_autoencoder.clone() + told_apart.clone();
                terms.extend([("adversarial", judged), ("discriminator", told_apart)]);
            }
        }
        // The discriminator's own loss is not the autoencoder's.
        logged.insert(0, Number::of(&of_autoencoder));
        Ok(ShareLoss { total, terms, logged })
    }

    fn inputs(&self, share: &PictureShare) -> Result<Vec<Input>> {
        let values = to_tensor(&share.images, &self.device)?.into_data().iter::<f32>().collect();
        Ok(vec![Input { kind: InputKind::Picture, values }])
    }

    fn save(&self, network: &AutoencoderInTraining, model: &Path) -> Result<()> {
        let mut config = self.config.clone();
        let folder = model.join("vae");
        // As a reader of the file computes, whatever the training's precision.
        let exact = network.autoencoder.in_f32(&self.config, &self.device)?;
        let statistics = LatentStatistics::measure(&exact, self.data, &self.device)?;
        if !self.vae.decoder_only {
            // One factor for all channels: what the base had for each no longer fits.
            config.scaling_factor = self.vae.scaling_factor.unwrap_or(statistics.scaling_factor);
            (config.shift_factor, config.latents_mean, config.latents_std) = (None, None, None);
        }
        checkpoint::write_autoencoder(&folder, &network.autoencoder, &config)?;
        statistics.write(&folder)
    }
}

/// ε of the samples at `positions` of the run: each has a stream of its own.
fn posterior_noise(seed: u64, positions: &[u64], [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let stream = |&position: &u64| Philox::new(seed, Purpose::Posterior, position).normals(c * h * w);
    let values: Vec<f32> = positions.iter().flat_map(stream).collect();
    Tensor::from_data(TensorData::new(values, [positions.len(), c, h, w]), device).autodiff()
}

/// The network at the first step: random, or the recipe's model.
fn start(recipe: &Recipe, compute: &Compute) -> Result<(AutoencoderKl, AutoencoderConfig)> {
    match &recipe.model {
        Some(model) => match checkpoint::vae(StoredComponent::find(model, ComponentKind::Vae)?, compute)? {
            Vae::Kl { network, config } => Ok((network, config)),
            Vae::Tiny { .. } => {
                let got = format!("`{}`, whose autoencoder is a tiny one", model.display());
                Err(Error::config(recipe.path(), "model", "one with an AutoencoderKL", got))
            }
        },
        None => {
            let config = recipe.vae()?.config(recipe.data.size as usize);
            let network = AutoencoderKl::new(&config, &mut Init::random(recipe.seed, compute))?;
            Ok((network.with_initial_logvar(INITIAL_LOGVAR), config))
        }
    }
}
