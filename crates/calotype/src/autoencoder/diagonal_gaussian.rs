//! The posterior q(z | x) = N(μ, diag σ²), and its KL divergence from N(0, I).

use burn::tensor::Tensor;

use crate::error::{Error, Result};

/// Bounds of the log variance: e^−30 is no noise in f32, e^20 is far outside any latent.
pub const LOGVAR_RANGE: [f64; 2] = [-30.0, 20.0];

/// A Gaussian with independent coordinates.
#[derive(Debug, Clone)]
pub struct DiagonalGaussian {
    /// μ: `[B, Z, h, w]`.
    pub mean: Tensor<4>,
    /// ln σ², clamped to [`LOGVAR_RANGE`]: `[B, Z, h, w]`.
    pub logvar: Tensor<4>,
}

impl DiagonalGaussian {
    /// From μ and ln σ², `[B, Z, h, w]`; ln σ² is clamped, and has no gradient outside.
    ///
    /// # Errors
    /// `Error::Shape` if the shapes differ.
    pub fn new(mean: Tensor<4>, logvar: Tensor<4>) -> Result<Self> {
        if mean.dims() != logvar.dims() {
            let expected = format!("{:?}, as the mean", mean.dims());
            return Err(Error::shape("log variance", expected, format!("{:?}", logvar.dims())));
        }
        Ok(Self { mean, logvar: logvar.clamp(LOGVAR_RANGE[0], LOGVAR_RANGE[1]) })
    }

    /// From an encoder's output `[B, 2·Z, h, w]`: the first half is μ, the second ln σ².
    ///
    /// # Errors
    /// `Error::Shape` for an odd number of channels.
    pub fn from_moments(moments: Tensor<4>) -> Result<Self> {
        let channels = moments.dims()[1];
        if !channels.is_multiple_of(2) {
            return Err(Error::shape("channels of the encoder's output", "an even number", channels));
        }
        let z = channels / 2;
        Self::new(moments.clone().narrow(1, 0, z), moments.narrow(1, z, z))
    }

    /// σ = e^(½ ln σ²): `[B, Z, h, w]`.
    pub fn std(&self) -> Tensor<4> {
        (self.logvar.clone() * 0.5).exp()
    }

    /// z = μ + σ ε, the reparameterisation of Kingma & Welling 2014, Eq. 10. `noise` ε ~ N(0, I).
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.std() * noise
    }

    /// ½ (μ² + σ² − 1 − ln σ²) of every number of the latent: `[B, Z, h, w]`.
    /// Kingma & Welling 2014, appendix B.
    pub fn kl_per_element(&self) -> Tensor<4> {
        (self.mean.clone().square() + self.logvar.clone().exp() - 1.0 - self.logvar.clone()) * 0.5
    }

    /// KL(q ‖ N(0, I)), summed over the latent of each sample: `[B]`.
    pub fn kl(&self) -> Tensor<1> {
        let per_element = self.kl_per_element();
        let [b, c, h, w] = per_element.dims();
        per_element.reshape([b, c * h * w]).sum_dim(1).reshape([b])
    }
}
