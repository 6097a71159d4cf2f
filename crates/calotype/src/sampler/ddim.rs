//! Denoising diffusion implicit models: few steps, deterministic unless η > 0.

use burn::tensor::Tensor;

use super::{Noise, Transition};
use crate::diffusion::same_shape;
use crate::{Error, Result};

/// One DDIM step, from timestep t to `x_s` at s < t.
///
/// x̂₀  = (x_t − √(1−ᾱ_t)·ε) / √ᾱ_t
/// σ   = η·√((1−ᾱ_s)/(1−ᾱ_t))·√(1−ᾱ_t/ᾱ_s)
/// x_s = √ᾱ_s·x̂₀ + √(1−ᾱ_s−σ²)·ε + σ·z
///
/// Song et al. 2021, arXiv:2010.02502, Eqs. 12 and 16 (their α is our ᾱ).
///
/// - `x_0`, `eps`: `[B, C, H, W]`, what the network says about x₀ and ε at x_t, after guidance.
/// - `eta`: in [0, 1]; 0 is deterministic, 1 equals [`ddpm::step`](super::ddpm::step) with
///   [`FixedSmall`](crate::diffusion::VarianceType::FixedSmall).
/// - `noise` is asked for z ~ N(0, I) only where σ > 0.
///
/// # Errors
/// `Error::Argument` if `eta` is outside [0, 1]; `Error::Shape` if the shapes differ; those of
/// `noise`.
pub fn step(
    x_0: Tensor<4>,
    eps: Tensor<4>,
    transition: &Transition,
    eta: f64,
    noise: &mut dyn Noise,
) -> Result<Tensor<4>> {
    same_shape("DDIM step", &x_0, &eps)?;
    let sigma = sigma(transition, eta)?;
    let alpha_bar_s = transition.alpha_bar_s;
    // σ² ≤ 1−ᾱ_s holds exactly; rounding may leave −10⁻¹⁷.
    let direction = (1.0 - alpha_bar_s - sigma * sigma).max(0.0).sqrt();
    let mean = x_0.mul_scalar(alpha_bar_s.sqrt()) + eps.mul_scalar(direction);
    if sigma == 0.0 {
        return Ok(mean);
    }
    let z = noise.draw(&mean)?;
    Ok(mean + z.mul_scalar(sigma))
}

/// σ of [`step`]: η times the standard deviation of the DDPM posterior (Eq. 16).
///
/// # Errors
/// `Error::Argument` if `eta` is outside [0, 1].
pub fn sigma(transition: &Transition, eta: f64) -> Result<f64> {
    check_eta(eta)?;
    Ok(eta * transition.posterior_variance().sqrt())
}

pub(super) fn check_eta(eta: f64) -> Result<()> {
    if (0.0..=1.0).contains(&eta) { Ok(()) } else { Err(Error::argument("eta", "0 to 1", eta)) }
}
