//! Denoising diffusion probabilistic models: ancestral sampling.

use burn::tensor::Tensor;

use super::{Noise, Transition};
use crate::Result;
use crate::diffusion::{VarianceType, same_shape};

/// One DDPM step, from latent `x_t` at timestep t to `x_s` at s < t.
///
/// β   = 1 − ᾱ_t/ᾱ_s
/// μ   = √ᾱ_s·β/(1−ᾱ_t)·x̂₀ + √(ᾱ_t/ᾱ_s)·(1−ᾱ_s)/(1−ᾱ_t)·x_t
/// x_s = μ + √V·z,  V = (1−ᾱ_s)/(1−ᾱ_t)·β (fixed small) or β (fixed large)
///
/// Ho et al. 2020, arXiv:2006.11239, Eqs. 6 and 7 and section 3.2; with s = t−1 these are their
/// symbols, and with fewer steps than T the same posterior on the timesteps visited. The last step
/// (s past the end) adds no noise.
///
/// - `x_t`, `x_0`: `[B, C, H, W]`; `x_0` is x̂₀, predicted at `x_t`, clipped if wanted.
/// - `noise` is asked for z ~ N(0, I) only where V > 0.
///
/// # Errors
/// `Error::Shape` if the shapes differ; those of `noise`.
pub fn step(
    x_t: Tensor<4>,
    x_0: Tensor<4>,
    transition: &Transition,
    variance_type: VarianceType,
    noise: &mut dyn Noise,
) -> Result<Tensor<4>> {
    same_shape("DDPM step", &x_t, &x_0)?;
    let (coef_x_0, coef_x_t) = posterior_mean_coefficients(transition);
    let mean = x_0.mul_scalar(coef_x_0) + x_t.mul_scalar(coef_x_t);
    let variance = match variance_type {
        _ if transition.s.is_none() => 0.0,
        VarianceType::FixedSmall => transition.posterior_variance(),
        VarianceType::FixedLarge => transition.beta(),
    };
    if variance == 0.0 {
        return Ok(mean);
    }
    let z = noise.draw(&mean)?;
    Ok(mean + z.mul_scalar(variance.sqrt()))
}

/// The weights of x₀ and x_t in the mean of q(x_s | x_t, x₀).
pub fn posterior_mean_coefficients(transition: &Transition) -> (f64, f64) {
    let (a, p) = (transition.alpha_bar_t, transition.alpha_bar_s);
    (p.sqrt() * transition.beta() / (1.0 - a), (a / p).sqrt() * (1.0 - p) / (1.0 - a))
}
