//! The autoencoder's loss: reconstruction + β · KL.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::DiagonalGaussian;

/// Error that a reconstruction is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconstruction {
    /// (x − x̂)²: blurred where it is unsure.
    #[default]
    Mse,
    /// |x − x̂|: sharper edges.
    L1,
}

impl Reconstruction {
    /// Mean over all pixels, channels and samples, `[1]`.
    ///
    /// `x`, `reconstruction`: `[B, 3, H, W]` in [−1, 1].
    pub fn error(self, x: Tensor<4>, reconstruction: Tensor<4>) -> Tensor<1> {
        let difference = x - reconstruction;
        match self {
            Self::Mse => difference.square().mean(),
            Self::L1 => difference.abs().mean(),
        }
    }
}

/// Both terms and their weighted sum, each `[1]`.
#[derive(Debug, Clone)]
pub struct AutoencoderLoss {
    /// Mean over all pixels, channels and samples of the error.
    pub reconstruction: Tensor<1>,
    /// KL(q(z|x) ‖ N(0, I)), summed over the latent, averaged over the batch.
    pub kl: Tensor<1>,
    /// reconstruction + β · kl.
    pub total: Tensor<1>,
}

/// L = mean (x − x̂)² + β · mean_batch Σ_latent KL. Higgins et al. 2017 (β-VAE), Eq. 4.
///
/// The two reductions differ on purpose, as in diffusers' training script (latent diffusion sums over
/// pixels too, and its β is as many times larger): with a *mean* over pixels and a *sum* over the latent, β around 1e−6 leaves the reconstruction in charge and keeps the latent
/// near unit variance. Halving the image side leaves the first term and quarters the second.
///
/// `x`, `reconstruction`: `[B, 3, H, W]` in [−1, 1]; `beta` ≥ 0.
pub fn autoencoder_loss(
    error: Reconstruction,
    x: Tensor<4>,
    reconstruction: Tensor<4>,
    posterior: &DiagonalGaussian,
    beta: f64,
) -> AutoencoderLoss {
    let reconstruction = error.error(x, reconstruction);
    let kl = posterior.kl().mean();
    let total = reconstruction.clone() + kl.clone() * beta;
    AutoencoderLoss { reconstruction, kl, total }
}

/// β at `step`: linear from 0 to `beta` over `warm_up` steps, so that the encoder first learns to
/// say something before it is asked to say it briefly.
pub fn beta_at(step: usize, beta: f64, warm_up: usize) -> f64 {
    match step < warm_up {
        true => beta * (step as f64 / warm_up as f64),
        false => beta,
    }
}

/// The terms of [`generator_loss`], each `[1]`.
#[derive(Debug, Clone)]
pub struct GeneratorLoss {
    /// Mean |x − x̂| over all numbers.
    pub l1: Tensor<1>,
    /// Mean (x − x̂)² over all numbers.
    pub mse: Tensor<1>,
    /// Σ (error/e^logvar + logvar), averaged over the batch only.
    pub nll: Tensor<1>,
    /// KL, averaged over the batch.
    pub kl: Tensor<1>,
    /// nll + kl_weight · kl + d_weight · disc_factor · g_loss.
    pub total: Tensor<1>,
}

/// The weights of [`generator_loss`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratorWeights {
    /// Of LPIPS within the error.
    pub perceptual: f64,
    /// Of the KL.
    pub kl: f64,
    /// Of the discriminator, adaptive: [`super::discriminator::adaptive_weight`].
    pub discriminator: f64,
    /// 0 before the discriminator starts, then 1.
    pub discriminator_factor: f64,
}

/// The loss of Stable Diffusion's autoencoder: error = |x − x̂| + perceptual · LPIPS under a learned
/// scale, KL, and what the discriminator says.
///
/// Esser et al. 2021, arXiv:2012.09841, Eqs. 5 to 7; Rombach et al. 2022, appendix G.
///
/// - `x`, `reconstruction`: `[B, C, H, W]`; `lpips`, `kl`: `[B]`, the latter summed over the latent.
/// - `logvar`: the learned log of the error's scale, `[1]`; `g_loss`: `[1]`.
pub fn generator_loss(
    x: Tensor<4>,
    reconstruction: Tensor<4>,
    lpips: Tensor<1>,
    kl: Tensor<1>,
    logvar: Tensor<1>,
    g_loss: Tensor<1>,
    weights: &GeneratorWeights,
) -> GeneratorLoss {
    let batch = x.dims()[0];
    let difference = x - reconstruction;
    let error = difference.clone().abs() + lpips.reshape([batch, 1, 1, 1]) * weights.perceptual;
    let logvar = logvar.reshape([1, 1, 1, 1]);
    let nll = (error / logvar.clone().exp() + logvar).sum() * (1.0 / batch as f64);
    let kl = kl.mean();
    let adversarial = g_loss * (weights.discriminator * weights.discriminator_factor);
    GeneratorLoss {
        l1: difference.clone().abs().mean(),
        mse: difference.square().mean(),
        total: nll.clone() + kl.clone() * weights.kl + adversarial,
        nll,
        kl,
    }
}
