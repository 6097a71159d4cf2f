//! What a denoiser is trained on: a noisy sample, its timestep, the target and how much its error counts.

use burn::tensor::{Tensor, TensorData};
use calotype_kernels::mean_square_error;

use super::edm::{self, Preconditioning};
use super::forward_process::add_noise;
use super::{LossWeight, NoiseSchedule, PredictionType, Rates};
use crate::error::Result;

/// The timestep that a network is given for time t in [0, 1] of a flow: 1000·t, as Stable Diffusion 3 and Flux
/// count.
pub const FLOW_TIMESTEPS: f64 = 1000.0;

/// How noisy each sample of a batch is.
#[derive(Debug, Clone, PartialEq)]
pub enum Times<'a> {
    /// Timesteps of a schedule, in 0..T.
    Steps(&'a NoiseSchedule, Vec<usize>),
    /// Times of a flow, in [0, 1].
    Flow(Vec<f64>),
}

impl Times<'_> {
    fn rates(&self) -> Result<Rates> {
        match self {
            Times::Steps(schedule, t) => Rates::at(schedule, t),
            Times::Flow(t) => Rates::flow(t),
        }
    }

    /// What the network is told: `B` numbers.
    fn timesteps(&self) -> Vec<f64> {
        match self {
            Times::Steps(_, t) => t.iter().map(|&t| t as f64).collect(),
            Times::Flow(t) => t.iter().map(|t| t * FLOW_TIMESTEPS).collect(),
        }
    }

    /// (signal/noise)² of each sample.
    fn snr(&self) -> Result<Vec<f64>> {
        match self {
            Times::Steps(schedule, t) => t.iter().map(|&t| schedule.snr(t)).collect(),
            Times::Flow(t) => Ok(t.iter().map(|t| ((1.0 - t) / t).powi(2)).collect()),
        }
    }
}

/// One batch of a denoiser's training.
#[derive(Debug, Clone)]
pub struct TrainingSample {
    /// x_t, or what an EDM network is given in its place: `[B, C, H, W]`.
    pub x_t: Tensor<4>,
    /// What the network is told of t: `B` numbers.
    pub timesteps: Vec<f64>,
    /// What it should say: `[B, C, H, W]`.
    pub target: Tensor<4>,
    /// What the squared error of each sample is multiplied by; `None`: 1.
    pub weights: Option<Vec<f64>>,
}

impl TrainingSample {
    /// Noise `eps` added to clean latents `x_0` as `times` says; `weight` says how much each time counts.
    ///
    /// # Errors
    /// `Error::Shape` if the shapes differ; `Error::Argument` for a time out of range.
    pub fn new(
        x_0: Tensor<4>,
        eps: Tensor<4>,
        times: &Times,
        prediction: PredictionType,
        weight: LossWeight,
    ) -> Result<Self> {
        let rates = times.rates()?;
        let target = prediction.target(x_0.clone(), eps.clone(), &rates)?;
        Ok(Self {
            x_t: add_noise(x_0, eps, &rates)?,
            timesteps: times.timesteps(),
            target,
            weights: weight.of(&times.snr()?, prediction)?,
        })
    }

    /// Noise `eps` added to clean latents `x_0` at the noise levels of an EDM model, one for each sample.
    ///
    /// # Errors
    /// As [`edm::input_and_target`].
    pub fn edm(x_0: Tensor<4>, eps: Tensor<4>, levels: &[Preconditioning]) -> Result<Self> {
        let (x_t, target) = edm::input_and_target(x_0, eps, levels)?;
        Ok(Self { x_t, timesteps: levels.iter().map(|c| c.c_noise).collect(), target, weights: None })
    }

    /// Mean (target − predicted)² of each sample: `B` numbers, whatever their weights.
    pub fn errors(&self, predicted: Tensor<4>) -> Vec<f64> {
        let squares = (self.target.clone() - predicted).square().into_data();
        let squares: Vec<f32> = squares.iter::<f32>().collect();
        let each = squares.len() / self.timesteps.len().max(1);
        let mean =
            |errors: &[f32]| errors.iter().map(|&error| f64::from(error)).sum::<f64>() / errors.len() as f64;
        squares.chunks(each.max(1)).map(mean).collect()
    }

    /// mean_B w · mean (target − predicted)², `[1]`. Ho et al. 2020, Eq. 14, where w = 1.
    ///
    /// `predicted`: `[B, C, H, W]`, on an autodiff device.
    pub fn loss(&self, predicted: Tensor<4>) -> Tensor<1> {
        let target = self.target.clone().autodiff();
        let Some(weights) = &self.weights else { return mean_square_error(target, predicted) };
        let difference = target - predicted;
        let column =
            TensorData::new(weights.iter().map(|&w| w as f32).collect::<Vec<_>>(), [weights.len(), 1, 1, 1]);
        let column = Tensor::<4>::from_data(column, &self.target.device()).autodiff();
        (difference.square() * column).mean()
    }
}
