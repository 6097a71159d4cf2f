//! Trains the autoencoder, then measures the latent's scale.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use super::data_parallel::{PartLoss, batch_gradients};
use super::recipe::Recipe;
use super::training_loop::{self, Part, Session};
use crate::autoencoder::AutoencoderKl;
use crate::autoencoder::loss::{autoencoder_loss, beta_at};
use crate::data::source::CaptionedPictures;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::formats::diffusers_folder;
use crate::nn::Init;
use crate::rng::{Philox, Purpose};

/// Pictures whose latents the scale is measured on.
const SCALE_PICTURES: u64 = 256;

/// ln σ² of the posterior at the start: σ ≈ 0.05.
const INITIAL_LOGVAR: f32 = -6.0;

/// Minimises reconstruction + β · KL and writes `model/vae/`.
///
/// # Errors
/// As [`training_loop::train`], and those of `data`.
pub fn train(recipe: &Recipe, data: &dyn CaptionedPictures, device: &Device, session: Session) -> Result<()> {
    let vae = &recipe.vae;
    let training = &vae.training;
    let mut config = recipe.vae_config();
    let network = AutoencoderKl::new(&config, &mut Init::random(recipe.seed, device))?
        .with_initial_logvar(INITIAL_LOGVAR);
    let side = recipe.data.size as usize / config.downsampling();
    let latent = [vae.latent_channels, side, side];

    let part = Part {
        name: "vae",
        settings: &(recipe.seed, &recipe.data, vae),
        training,
        logged: &["loss", "reconstruction", "kl"],
    };
    let optimizer = training_loop::train(
        session,
        part,
        network.clone(),
        |network, step| {
            let beta = beta_at(step, vae.beta, vae.beta_warm_up);
            let batch = pictures(data, (step * training.batch_size) as u64, training.batch_size)?;
            let per_part = training.batch_size / training.parts;
            let parts: Vec<(usize, &[RgbImage])> = batch.chunks(per_part).enumerate().collect();
            batch_gradients(network, parts, session.threads, step, |network, (part, images)| {
                let first = step * training.batch_size + part * per_part;
                let x = to_tensor(images, device)?.autodiff();
                let posterior = network.encode(x.clone())?;
                let noise = posterior_noise(recipe.seed, first as u64, images.len(), latent, device);
                let reconstruction = network.decode(posterior.sample(noise));
                let loss = autoencoder_loss(x, reconstruction, &posterior, beta);
                let logged = [&loss.total, &loss.reconstruction, &loss.kl].map(scalar).to_vec();
                Ok(PartLoss { total: loss.total, logged })
            })
        },
        |_| (),
    )?;

    let network = optimizer.averaged(network);
    config.scaling_factor = measure_scaling_factor(&network, data, device)?;
    diffusers_folder::save_autoencoder(&session.run.model().join("vae"), &network, &config)
}

/// 1 / standard deviation of the latents of training pictures, so that scaled latents have unit
/// variance and the noise schedule means what it says. Rombach et al. 2022, appendix G.
///
/// # Errors
/// Those of `data`; `Error::NonFinite` for latents that are not numbers or all equal.
pub fn measure_scaling_factor(
    network: &AutoencoderKl,
    data: &dyn CaptionedPictures,
    device: &Device,
) -> Result<f64> {
    let (mut n, mut sum, mut sum_of_squares) = (0.0f64, 0.0f64, 0.0f64);
    for first in (0..SCALE_PICTURES).step_by(32) {
        let posterior = network.encode(to_tensor(&pictures(data, first, 32)?, device)?)?;
        // E[z²] over the posterior is μ² + σ².
        let second = posterior.mean.clone().square() + posterior.logvar.exp();
        n += posterior.mean.shape().num_elements() as f64;
        sum += scalar(&posterior.mean.sum());
        sum_of_squares += scalar(&second.sum());
    }
    let mean = sum / n;
    let std = (sum_of_squares / n - mean * mean).sqrt();
    let scale = 1.0 / std;
    match scale.is_finite() {
        true => Ok(to_six_digits(scale)),
        false => {
            let what = "scale of the latents".into();
            Err(Error::NonFinite { what, step: 0, got: scale.to_string() })
        }
    }
}

/// More digits than are measured; and unlike 17 digits these are read back as the same number by
/// every JSON reader.
fn to_six_digits(x: f64) -> f64 {
    let unit = 10f64.powi(5 - x.log10().floor() as i32);
    (x * unit).round() / unit
}

/// `count` pictures of the run, decoded or rendered side by side.
pub(super) fn pictures(data: &dyn CaptionedPictures, first: u64, count: usize) -> Result<Vec<RgbImage>> {
    (0..count as u64).into_par_iter().map(|i| Ok(data.get(first + i)?.0)).collect()
}

/// ε of samples `first..first + count` of the run: each has a stream of its own.
fn posterior_noise(seed: u64, first: u64, count: usize, [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (first..first + count as u64)
        .flat_map(|position| Philox::new(seed, Purpose::Posterior, position).normals(c * h * w))
        .collect();
    Tensor::from_data(TensorData::new(values, [count, c, h, w]), device).autodiff()
}

pub(super) fn scalar(x: &Tensor<1>) -> f64 {
    f64::from(x.clone().into_scalar::<f32>())
}
