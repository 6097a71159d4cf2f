//! The autoencoder's losses: reconstruction + β · KL, and latent diffusion's with the reconstruction under a
//! learned scale.
//!
//! What the discriminator adds to either is in [`super::discriminator`].

use burn::tensor::Tensor;
use calotype_kernels::mean_square_error;
use serde::{Deserialize, Serialize};

use super::DiagonalGaussian;
use crate::error::{Error, Result};

/// What an autoencoder is trained by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoencoderObjective {
    /// [`autoencoder_loss`]: the mean error.
    #[default]
    BetaVae,
    /// [`ldm_loss`]: the likelihood under a learned scale.
    Ldm,
}

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
        match self {
            Self::Mse => mean_square_error(x, reconstruction),
            Self::L1 => (x - reconstruction).abs().mean(),
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
/// The two reductions differ on purpose, as in diffusers' training script: with a *mean* over pixels and a *sum* over
/// the latent, β around 1e−6 leaves the reconstruction in charge and keeps the latent near unit variance. Halving the
/// image side leaves the first term and quarters the second. ([`ldm_loss`] sums over pixels too: there the same β
/// weighs as many times less as a picture has numbers.)
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

/// The picture or latent at half its size: each number the mean of a square of four.
///
/// `x`: `[B, C, H, W]`; out `[B, C, H/2, W/2]`. A decoder that makes the halved picture of the halved
/// latent ([`Reconstruction::error`] of the two) keeps coarse shapes in the latent's coarse part, where a denoiser
/// finds them first. Skorokhodov et al. 2025, arXiv:2502.14831 (scale equivariance).
///
/// # Errors
/// `Error::Shape` unless H and W are even.
pub fn halved(x: Tensor<4>) -> Result<Tensor<4>> {
    let [b, c, h, w] = x.dims();
    if h % 2 != 0 || w % 2 != 0 {
        return Err(Error::shape("`scale_equivariance`", "an even height and width", format!("{w}x{h}")));
    }
    let squares: Tensor<6> = x.reshape([b, c, h / 2, 2, w / 2, 2]);
    Ok(squares.mean_dim(5).mean_dim(3).reshape([b, c, h / 2, w / 2]))
}

/// β at `step`: linear from 0 to `beta` over `warm_up` steps, so that the encoder first learns to
/// say something before it is asked to say it briefly.
pub fn beta_at(step: usize, beta: f64, warm_up: usize) -> f64 {
    if step < warm_up { beta * (step as f64 / warm_up as f64) } else { beta }
}

/// The terms of [`ldm_loss`], each `[1]`.
#[derive(Debug, Clone)]
pub struct LdmLoss {
    /// Mean |x − x̂| over all pixels, channels and samples.
    pub reconstruction: Tensor<1>,
    /// [`negative_log_likelihood`] of the reconstruction.
    pub nll: Tensor<1>,
    /// KL(q(z|x) ‖ N(0, I)), summed over the latent, averaged over the batch.
    pub kl: Tensor<1>,
    /// nll + β · kl.
    pub total: Tensor<1>,
}

/// The loss of latent diffusion's autoencoder without its discriminator: |x − x̂| + LPIPS under a learned scale, and
/// the KL.
///
/// Esser et al. 2021, arXiv:2012.09841, section 3.1; Rombach et al. 2022, arXiv:2112.10752, appendix G; the scale is
/// that of their code (`LPIPSWithDiscriminator`).
///
/// - `x`, `reconstruction`: `[B, 3, H, W]` in [−1, 1]; `kl`: of each sample, `[B]`.
/// - `lpips`: its mean over the batch times its weight, `[1]`; `logvar`: the log of the scale, `[1]`; `beta` ≥ 0.
pub fn ldm_loss(
    x: Tensor<4>,
    reconstruction: Tensor<4>,
    lpips: Option<Tensor<1>>,
    logvar: Tensor<1>,
    kl: Tensor<1>,
    beta: f64,
) -> LdmLoss {
    let [_, channels, height, width] = x.dims();
    let reconstruction = Reconstruction::L1.error(x, reconstruction);
    let nll = negative_log_likelihood(reconstruction.clone(), lpips, logvar, channels * height * width);
    let kl = kl.mean();
    LdmLoss { total: nll.clone() + kl.clone() * beta, reconstruction, nll, kl }
}

/// −ln p(x | z) of a picture of `numbers` numbers, but for a constant: Σ (error/s + ln s), `[1]`, with the scale
/// s = e^`logvar`. It is least where s is the mean error.
///
/// LPIPS is a part of every number's error, so the sum over all of them is `numbers` times the term of the mean error.
///
/// - `reconstruction`, `lpips`: means over the batch, each with its weight, `[1]`.
pub fn negative_log_likelihood(
    reconstruction: Tensor<1>,
    lpips: Option<Tensor<1>>,
    logvar: Tensor<1>,
    numbers: usize,
) -> Tensor<1> {
    let error = match lpips {
        Some(lpips) => reconstruction + lpips,
        None => reconstruction,
    };
    (error / logvar.clone().exp() + logvar) * numbers as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{samples, shaped, values};

    #[test]
    fn a_halved_picture_has_the_means_of_its_squares() {
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let got = values(halved(shaped(&x, [1, 2, 2, 4])).unwrap());
        assert_eq!(got, [2.5, 4.5, 10.5, 12.5]);
        assert!(halved(shaped(&x[..6], [1, 1, 3, 2])).is_err());
    }

    /// d/d logvar = P·(1 − error/s) is zero at s = error, and the pictures' gradient is P/s times that of the mean.
    #[test]
    fn the_learned_scale_ends_at_the_mean_error() {
        let (x, wrong) = (samples(&[0.5, -0.25, 1.0]), samples(&[0.25, 0.25, -0.5]));
        let gradients = |logvar: f64| {
            let leaf = wrong.clone().autodiff().require_grad();
            let scale = shaped::<1>(&[logvar], [1]).autodiff().require_grad();
            let lpips = shaped(&[0.125], [1]).autodiff();
            let kl = shaped(&[3.0, 5.0, 7.0], [3]).autodiff();
            let loss = ldm_loss(x.clone().autodiff(), leaf.clone(), Some(lpips), scale.clone(), kl, 0.5);
            let total = loss.total.clone();
            assert!((values(total.clone() - loss.nll)[0] - 2.5).abs() < 1e-12);
            let gradients = total.backward();
            (values(leaf.grad(&gradients).unwrap()), values(scale.grad(&gradients).unwrap())[0])
        };
        let error: f64 = (0.25 + 0.5 + 1.5) / 3.0 + 0.125;
        assert!(gradients(error.ln()).1.abs() < 1e-12);
        assert!((gradients(0.0).1 - (1.0 - error)).abs() < 1e-12);
        let by_mean = {
            let leaf = wrong.clone().autodiff().require_grad();
            let mean = Reconstruction::L1.error(x.clone().autodiff(), leaf.clone());
            values(leaf.grad(&mean.backward()).unwrap())
        };
        for (got, mean) in gradients(-2.0).0.into_iter().zip(by_mean) {
            assert!((got - mean * 2.0_f64.exp()).abs() < 1e-12, "{got}, the mean's {mean}");
        }
    }
}
