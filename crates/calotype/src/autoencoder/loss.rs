//! The autoencoder's loss: reconstruction + β · KL.

use burn::tensor::Tensor;

use super::DiagonalGaussian;

/// Both terms and their weighted sum, each `[1]`.
#[derive(Debug, Clone)]
pub struct AutoencoderLoss {
    /// Mean over all pixels, channels and samples of (x − x̂)².
    pub reconstruction: Tensor<1>,
    /// KL(q(z|x) ‖ N(0, I)), summed over the latent, averaged over the batch.
    pub kl: Tensor<1>,
    /// reconstruction + β · kl.
    pub total: Tensor<1>,
}

/// L = mean (x − x̂)² + β · mean_batch Σ_latent KL. Higgins et al. 2017 (β-VAE), Eq. 4.
///
/// The two reductions differ on purpose, as in latent diffusion: with a *mean* over pixels and a
/// *sum* over the latent, β around 1e−6 leaves the reconstruction in charge and keeps the latent
/// near unit variance. Halving the image side leaves the first term and quarters the second.
///
/// `x`, `reconstruction`: `[B, 3, H, W]` in [−1, 1]; `beta` ≥ 0.
pub fn autoencoder_loss(
    x: Tensor<4>,
    reconstruction: Tensor<4>,
    posterior: &DiagonalGaussian,
    beta: f64,
) -> AutoencoderLoss {
    let reconstruction = (x - reconstruction).square().mean();
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
