//! Trains the U-Net on the latents of a trained autoencoder, steered by a trained text tower.

use burn::tensor::{Device, Tensor, TensorData};

use super::autoencoder::scalar;
use super::data_parallel::{PartLoss, batch_gradients};
use super::latent_cache::LatentCache;
use super::recipe::Recipe;
use super::training_loop::{self, Part, Session};
use crate::data::source::CaptionedPictures;
use crate::denoiser::Unet;
use crate::denoiser::conditioning::drops_caption;
use crate::diffusion::forward_process::add_noise;
use crate::diffusion::{Rates, SchedulerConfig};
use crate::error::Result;
use crate::formats::diffusers_folder;
use crate::nn::Init;
use crate::rng::{Philox, Purpose};
use crate::text_encoder::ClipText;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Minimises E‖ε − ε_θ(z_t, t, c)‖² (Ho et al. 2020, Eq. 14) with t uniform in 0..T, and writes
/// `model/unet/`, `model/scheduler/` and `model/model_index.json`. The autoencoder and the text tower
/// of the same run stay as they are.
///
/// # Errors
/// As [`training_loop::train`]; `Error::Io` if the run has no trained autoencoder or text tower.
pub fn train(recipe: &Recipe, data: &dyn CaptionedPictures, device: &Device, session: Session) -> Result<()> {
    let diffusion = &recipe.diffusion;
    let training = &diffusion.training;
    let model = session.run.model();
    let vae = diffusers_folder::load_autoencoder(&model.join("vae"), device)?;
    let text = diffusers_folder::load_text_encoder(&model.join("text_encoder"), device)?.network;
    let tokenizer = ClipTokenizer::load(&model.join("tokenizer"))?;
    let cache = LatentCache::encode(
        &vae.network,
        vae.config.scaling_factor,
        &tokenizer,
        data,
        diffusion.cached_scenes,
        device,
        session.threads,
        session.progress,
    )?;
    let scheduler = SchedulerConfig { prediction_type: diffusion.prediction, ..SchedulerConfig::default() };
    let schedule = scheduler.noise_schedule()?;
    let config = recipe.unet_config();
    let network = Unet::new(&config, &mut Init::random(recipe.seed.wrapping_add(2), device))?;
    let no_caption = tokenizer.encode_padded("").ids;

    let part = Part {
        name: "diffusion",
        settings: &(recipe.seed, &recipe.data, diffusion),
        training,
        logged: &["loss"],
    };
    let optimizer = training_loop::train(
        session,
        part,
        network.clone(),
        |network, step| {
            let per_part = training.batch_size / training.parts;
            let order = batch_pictures(recipe.seed, step, training.batch_size, cache.len());
            let parts: Vec<&[(u64, usize)]> = order.chunks(per_part).collect();
            batch_gradients(network, parts, session.threads, step, |network, items| {
                let (z_0, mut ids) = cache.batch(recipe.seed, items, device);
                for (ids, &(position, _)) in ids.iter_mut().zip(items) {
                    if drops_caption(recipe.seed, position, diffusion.caption_dropout) {
                        ids.clone_from(&no_caption);
                    }
                }
                let (t, eps) =
                    timesteps_and_noise(recipe.seed, items, schedule.num_timesteps(), z_0.dims(), device);
                let rates = Rates::at(&schedule, &t)?;
                let target = diffusion.prediction.target(z_0.clone(), eps.clone(), &rates)?;
                let z_t = add_noise(z_0, eps, &rates)?;
                let t: Vec<f64> = t.iter().map(|&t| t as f64).collect();
                let context = encode_text(&text, &ids)?.autodiff();
                let predicted = network.forward(z_t.autodiff(), &t, &context, None)?;
                let total = (target.autodiff() - predicted).square().mean();
                Ok(PartLoss { logged: vec![scalar(&total)], total })
            })
        },
        |_| (),
    )?;

    let network = optimizer.averaged(network);
    diffusers_folder::save_unet(&model.join("unet"), &network, &config)?;
    diffusers_folder::save_scheduler(&model.join("scheduler"), &scheduler)?;
    diffusers_folder::save_index(&model, &scheduler)
}

/// Text features of the frozen tower.
fn encode_text(text: &ClipText, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
    Ok(text.forward(ids)?.last_hidden_state)
}

/// (position in the run, picture of the cache) for each sample of `step`: pictures drawn with
/// replacement.
fn batch_pictures(seed: u64, step: usize, batch_size: usize, pictures: usize) -> Vec<(u64, usize)> {
    let mut rng = Philox::new(seed, Purpose::Batch, step as u64);
    (0..batch_size).map(|i| ((step * batch_size + i) as u64, rng.below(pictures))).collect()
}

/// t and ε of each sample, from the stream of its position.
fn timesteps_and_noise(
    seed: u64,
    items: &[(u64, usize)],
    num_timesteps: usize,
    [b, c, h, w]: [usize; 4],
    device: &Device,
) -> (Vec<usize>, Tensor<4>) {
    let mut timesteps = Vec::with_capacity(b);
    let mut noise = Vec::with_capacity(b * c * h * w);
    for &(position, _) in items {
        let mut rng = Philox::new(seed, Purpose::TrainingNoise, position);
        timesteps.push(rng.below(num_timesteps));
        noise.extend(rng.normals(c * h * w));
    }
    (timesteps, Tensor::from_data(TensorData::new(noise, [b, c, h, w]), device))
}
