//! The posterior q(z | x) = N(μ, diag σ²), and its KL divergence from N(0, I).

use burn::tensor::Tensor;

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
    /// From an encoder's output `[B, 2·Z, h, w]`: the first half is μ, the second ln σ².
    pub fn from_moments(moments: Tensor<4>) -> Self {
        let z = moments.dims()[1] / 2;
        let mean = moments.clone().narrow(1, 0, z);
        let logvar = moments.narrow(1, z, z).clamp(LOGVAR_RANGE[0], LOGVAR_RANGE[1]);
        Self { mean, logvar }
    }

    /// z = μ + σ ε, the reparameterisation of Kingma & Welling 2014, Eq. 10. `noise` ε ~ N(0, I).
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }

    /// KL(q ‖ N(0, I)) = ½ Σ (μ² + σ² − 1 − ln σ²), summed over the latent of each sample: `[B]`.
    /// Kingma & Welling 2014, appendix B.
    pub fn kl(&self) -> Tensor<1> {
        let per_element = self.mean.clone().square() + self.logvar.clone().exp() - 1.0 - self.logvar.clone();
        let [b, c, h, w] = per_element.dims();
        per_element.reshape([b, c * h * w]).sum_dim(1).reshape([b]) * 0.5
    }
}
