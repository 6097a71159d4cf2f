//! The networks that can be timed, with random weights and inputs.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use calotype_kernels::{has_kernels, mean_square_error, work};

use super::{Benchmark, Mode};
use crate::autoencoder::loss::{Reconstruction, autoencoder_loss};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::denoiser::{Condition, Denoiser, DenoiserConfig};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::nn::parameters;
use crate::rng::{Philox, Purpose};
use crate::text_encoder::contrastive_loss::info_nce;
use crate::text_encoder::{Clip, ClipConfig, ClipTextConfig};
use crate::trainer::batch::Batch;
use crate::trainer::data_parallel::{differentiated, mean_of_shares, recycle};
use crate::trainer::device_gradients::DeviceGradients;
use crate::trainer::objective::ShareLoss;
use crate::trainer::optimizer::{OnDevice, Optimizer, OptimizerConfig};
use crate::trainer::weights::{Weights, fill};

/// A network and what it is timed on.
pub(super) trait Bench {
    /// One step.
    fn step(&mut self, mode: Mode) -> Result<()>;
    /// Arithmetic of one forward pass, by definition.
    fn gflop(&self) -> Result<f64>;
    /// Numbers in all parameters.
    fn parameters(&self) -> usize;
}

/// Samples of a share of a batch, at least: fewer would not pay for packing the weights once more.
const PER_SHARE: usize = 4;

/// An optimiser where a training would have it.
enum Training {
    OnHost(Optimizer),
    OnDevice(OnDevice),
}

impl Training {
    fn of<M: Module>(network: &M, device: &Device) -> Self {
        let optimizer = Optimizer::new(parameters::named_parameters(network), OptimizerConfig::default());
        let on_device = (!has_kernels(device)).then(|| OnDevice::new(&optimizer, device)).flatten();
        on_device.map_or(Self::OnHost(optimizer), Self::OnDevice)
    }
}

/// A network, its optimiser once it trains, and two functions of a share of its batch: `forward` reads its result, as a
/// sampler does.
struct Timed<M, P, F, L> {
    network: M,
    optimizer: Option<Training>,
    batch: Batch<P>,
    whole: P,
    threads: usize,
    device: Device,
    forward: F,
    loss: L,
}

impl<M, P, F, L> Bench for Timed<M, P, F, L>
where
    M: Module + Sync,
    P: Send + Sync + Clone,
    F: Fn(&M, &P) -> Result<()>,
    L: Fn(&M, &P) -> Result<Tensor<1>> + Sync,
{
    fn step(&mut self, mode: Mode) -> Result<()> {
        if mode != Mode::Train {
            return (self.forward)(&self.network, &self.whole);
        }
        let network = &self.network;
        let optimizer = self.optimizer.get_or_insert_with(|| Training::of(network, &self.device));
        let loss = |network: &M, share: &P| {
            Ok(ShareLoss { total: (self.loss)(network, share)?, terms: vec![], logged: vec![] })
        };
        self.network = match optimizer {
            Training::OnDevice(optimizer) => {
                let computed = DeviceGradients::of_shares(network, &self.batch, 0, |_| true, loss)?;
                optimizer.step(&computed, 1e-4)?;
                optimizer.fill(network.clone())
            }
            Training::OnHost(optimizer) => {
                let gradients = |network: &M, share: &P| {
                    differentiated(network, |_| true, |network| loss(network, share))
                };
                let computed =
                    mean_of_shares(network, &self.batch, self.threads, optimizer.steps(), gradients)?;
                optimizer.step(&computed.gradients, 1e-4)?;
                recycle(computed.gradients);
                fill(optimizer, network.clone(), Weights::Current)
            }
        };
        Ok(())
    }

    fn gflop(&self) -> Result<f64> {
        let (result, flop) = work::counted(|| (self.forward)(&self.network, &self.whole));
        result.map(|()| flop as f64 * 1e-9)
    }

    fn parameters(&self) -> usize {
        parameters::count(&self.network)
    }
}

/// `inputs(n)` are those of n samples; the batch trains in shares of so many.
fn timed<M, P, F, L>(
    network: M,
    inputs: impl Fn(usize) -> P,
    shares: Vec<usize>,
    machine: Machine,
    (forward, loss): (F, L),
) -> Box<dyn Bench>
where
    M: Module + Sync + 'static,
    P: Send + Sync + Clone + 'static,
    F: Fn(&M, &P) -> Result<()> + 'static,
    L: Fn(&M, &P) -> Result<Tensor<1>> + Sync + 'static,
{
    let (whole, threads, device) = (inputs(shares.iter().sum()), machine.threads, machine.device.clone());
    let shares: Vec<P> = shares.into_iter().map(&inputs).collect();
    let (first, of) = (0, shares.len());
    let batch = Batch { shares, first, of, items: vec![], captions: vec![], damaged: vec![] };
    Box::new(Timed { network, optimizer: None, batch, whole, threads, device, forward, loss })
}

/// Waits for a result.
fn read<const D: usize>(result: Tensor<D>) {
    result.into_data();
}

/// Tokens of a text, for a denoiser that is not told: as many as Stable Diffusion's encoder has.
const USUAL_TOKENS: usize = 77;

/// N(0, 1).
fn normal<const D: usize>(shape: [usize; D], stream: u64, device: &Device) -> Tensor<D> {
    let values = Philox::new(0, Purpose::TrainingNoise, stream).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Batch sizes of the shares, two of which train side by side; only two have their activations in memory. A device that
/// is not the CPU takes the batch as a whole.
fn share_sizes(batch: usize, device: &Device) -> Vec<usize> {
    if !has_kernels(device) {
        return vec![batch];
    }
    let shares =
        [8, 4, 2].into_iter().find(|&shares| batch.is_multiple_of(shares) && batch / shares >= PER_SHARE);
    let shares = shares.unwrap_or(if batch.is_multiple_of(2) { 2 } else { 1 });
    vec![batch / shares; shares]
}

/// x_t, t, c, and what is to be predicted: a share of a denoiser's batch.
#[derive(Clone)]
struct Noisy {
    x_t: Tensor<4>,
    timesteps: Vec<f64>,
    condition: Condition,
    target: Tensor<4>,
}

/// E‖ε − ε_θ(x_t, t, c)‖² of random inputs, or that of a velocity.
pub(super) fn denoiser(
    config: &DenoiserConfig,
    asked: &Benchmark,
    machine: Machine,
) -> Result<Box<dyn Bench>> {
    let device = machine.device;
    let network = Denoiser::new(config, &mut asked.init(device))?;
    let tokens = asked.context_tokens.unwrap_or(USUAL_TOKENS);
    let takes_guidance = network.takes_guidance();
    let noisy = |batch: usize| Noisy {
        x_t: normal([batch, config.in_channels(), asked.size, asked.size], 0, device),
        timesteps: (0..batch).map(|i| (37 * i % 1000) as f64).collect(),
        condition: Condition {
            pooled: config.pooled_width().map(|width| normal([batch, width], 3, device)),
            guidance: takes_guidance.then(|| vec![3.5; batch]),
            ..Condition::of_context(normal([batch, tokens, config.context_width()], 1, device))
        },
        target: normal([batch, config.out_channels(), asked.size, asked.size], 2, device),
    };
    let forward = |network: &Denoiser, on: &Noisy| {
        network.forward(on.x_t.clone(), &on.timesteps, &on.condition, None).map(read)
    };
    let loss = |network: &Denoiser, on: &Noisy| {
        let condition = on.condition.clone().autodiff();
        let predicted = network.forward(on.x_t.clone().autodiff(), &on.timesteps, &condition, None)?;
        Ok(mean_square_error(on.target.clone().autodiff(), predicted))
    };
    Ok(timed(network, noisy, share_sizes(asked.batch, machine.device), machine, (forward, loss)))
}

/// Pictures and the noise of their latents.
#[derive(Clone)]
struct PicturesWithNoise {
    x: Tensor<4>,
    noise: Tensor<4>,
}

/// Reconstruction + β · KL of random pictures; forward there and back without sampling, or back alone.
pub(super) fn autoencoder(
    config: &AutoencoderConfig,
    asked: &Benchmark,
    machine: Machine,
) -> Result<Box<dyn Bench>> {
    let device = machine.device;
    let f = config.downsampling();
    if !asked.size.is_multiple_of(f) {
        return Err(Error::argument("size", format!("a multiple of {f}"), asked.size));
    }
    let network = AutoencoderKl::new(config, &mut asked.init(device))?;
    let pictures = |batch: usize| PicturesWithNoise {
        x: normal([batch, config.in_channels, asked.size, asked.size], 0, device),
        noise: normal([batch, config.latent_channels, asked.size / f, asked.size / f], 1, device),
    };
    let decodes = asked.mode == Mode::Decode;
    let forward = move |network: &AutoencoderKl, on: &PicturesWithNoise| {
        let z = if decodes { on.noise.clone() } else { network.encode(on.x.clone())?.mean };
        read(network.decode(z));
        Ok(())
    };
    let loss = |network: &AutoencoderKl, on: &PicturesWithNoise| {
        let x = on.x.clone().autodiff();
        let posterior = network.encode(x.clone())?;
        let reconstruction = network.decode(posterior.sample(on.noise.clone().autodiff()));
        Ok(autoencoder_loss(Reconstruction::Mse, x, reconstruction, &posterior, 1e-6).total)
    };
    Ok(timed(network, pictures, share_sizes(asked.batch, machine.device), machine, (forward, loss)))
}

/// Pictures and the tokens of their captions.
#[derive(Clone)]
struct Pairs {
    images: Tensor<4>,
    ids: Vec<Vec<u32>>,
}

/// InfoNCE of random pairs, each compared with every other of the whole batch.
pub(super) fn clip(config: &ClipConfig, asked: &Benchmark, machine: Machine) -> Result<Box<dyn Bench>> {
    let device = machine.device;
    let (text, vision) = (&config.text_config, &config.vision_config);
    let network = Clip::new(config, &mut asked.init(device))?;
    if asked.size != vision.image_size {
        let expected = format!("{}, the config's image_size", vision.image_size);
        return Err(Error::argument("size", expected, asked.size));
    }
    let most = text.max_position_embeddings;
    let tokens = asked.context_tokens.unwrap_or(most);
    if tokens > most {
        return Err(Error::argument("context_tokens", format!("at most {most}, the tower's"), tokens));
    }
    let pairs = |batch: usize| Pairs {
        images: normal([batch, vision.num_channels, asked.size, asked.size], 0, device),
        ids: (0..batch).map(|i| caption(text, tokens, i)).collect(),
    };
    let logits = |network: &Clip, images: Tensor<4>, ids: &[Vec<u32>]| {
        Ok(network.logits_per_image(network.embed_images(images)?, network.embed_text(ids)?))
    };
    let forward = move |network: &Clip, on: &Pairs| logits(network, on.images.clone(), &on.ids).map(read);
    let loss = move |network: &Clip, on: &Pairs| {
        Ok(info_nce(logits(network, on.images.clone().autodiff(), &on.ids)?, None)?.total())
    };
    Ok(timed(network, pairs, vec![asked.batch], machine, (forward, loss)))
}

/// `tokens` ids, of which the last alone is the end token; others in every row.
fn caption(config: &ClipTextConfig, tokens: usize, row: usize) -> Vec<u32> {
    let largest = config.vocab_size as u32 - 1;
    // 2 stands for the largest: see `ClipTextConfig::eos_token_id`.
    let end = config.eos_token_id.filter(|&eos| eos != 2).unwrap_or(largest);
    let word = |place: usize| (31 * row + 7 * place) as u32 % largest.max(1);
    let words = (1..tokens).map(|place| word(place) + u32::from(word(place) >= end));
    words.chain([end]).collect()
}
