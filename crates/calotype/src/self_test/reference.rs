//! Reference formulas that nothing in the product runs, but golden cases ask for.
//!
//! So do those who check another program with these cases.

use burn::tensor::Tensor;

use crate::diffusion::flow;
use crate::diffusion::schedule::linspace;
use crate::diffusion::sigma_grid::require_falling;
use crate::error::{Error, Result};
use crate::evaluate::frechet_bias::harmonic_pairs;

/// KL(N(μ₁, σ₁²) ‖ N(μ₂, σ₂²)) = ½ ((μ₁ − μ₂)²/σ₂² + σ₁²/σ₂² − 1 − ln σ₁² + ln σ₂²), each side as (μ, ln σ²). What an
/// autoencoder is trained with is the divergence from N(0, I), [`DiagonalGaussian::kl`].
///
/// [`DiagonalGaussian::kl`]: crate::autoencoder::DiagonalGaussian::kl
pub fn kl_of_gaussians((mean_1, logvar_1): (f64, f64), (mean_2, logvar_2): (f64, f64)) -> f64 {
    let log_ratio = logvar_1 - logvar_2;
    ((mean_1 - mean_2).powi(2) / logvar_2.exp() + log_ratio.exp() - 1.0 - log_ratio) / 2.0
}

/// −ln q(x) = ½ (ln 2π + ln σ² + (x − μ)²/σ²) of a Gaussian (μ, ln σ²).
pub fn gaussian_nll((mean, logvar): (f64, f64), x: f64) -> f64 {
    (std::f64::consts::TAU.ln() + logvar + (x - mean).powi(2) / logvar.exp()) / 2.0
}

/// The loss under a learned uncertainty u(σ) = `logvar`: weight/e^u · squared error + u.
///
/// Karras et al. 2024, arXiv:2312.02696, Eq. 13: at its optimum each noise level has the same weight.
pub fn uncertainty_loss(weight: f64, squared_error: f64, logvar: f64) -> f64 {
    weight / logvar.exp() * squared_error + logvar
}

/// LPIPS's channels at unit length as torchmetrics has them: f/√(‖f‖² + ε). The product has those of the paper's code,
/// [`unit_length`](crate::autoencoder::lpips::unit_length).
///
/// - `features`: `[B, C, H, W]`.
pub fn unit_length_of_torchmetrics(features: Tensor<4>, eps: f64) -> Tensor<4> {
    let squared = features.clone().square().sum_dim(1); // [B, 1, H, W]
    features / (squared + eps).sqrt()
}

/// Expected Fréchet distance between `n` samples of a normal distribution and that distribution:
/// [Σᵢ lᵢ + ½ Σᵢⱼ lᵢlⱼ/(lᵢ+lⱼ) + ¼ Σᵢ lᵢ] / n to first order in 1/n, l the eigenvalues of its covariance. `evaluate`
/// reports the bias of what was measured, of which this is the case of a perfect generator.
///
/// # Errors
/// `Error::Argument` for n = 0 or an eigenvalue that is negative or not finite.
pub fn null_bias(eigenvalues: &[f64], n: usize) -> Result<f64> {
    if let Some(bad) = eigenvalues.iter().find(|l| !l.is_finite() || **l < 0.0) {
        return Err(Error::argument("eigenvalues", "finite numbers of at least 0", bad));
    }
    if n == 0 {
        return Err(Error::argument("n", "at least 1", n));
    }
    let trace: f64 = eigenvalues.iter().sum();
    Ok((1.25 * trace + 0.5 * harmonic_pairs(eigenvalues)) / n as f64)
}

/// From a pixel in [−1, 1] (clamped) to 8 bits: the rules of four programs, which differ by up to one level. What is
/// written here is [`to_images`](crate::data::tensors::to_images)'s, half to even, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantisation {
    /// ⌊127.5 (x + 1)⌋, of ADM: half a level too dark on average.
    Truncate,
    /// ⌊127.5 x + 128⌋, of EDM2.
    Scale127_5Plus128,
    /// ⌊255 (x + 1)/2 + ½⌋, of torchvision's `save_image`.
    HalfUp,
    /// 255 (x/2 + ½) rounded half to even, of diffusers.
    HalfEven,
}

impl Quantisation {
    /// The 8-bit level of `x`; NaN gives 0.
    pub fn level(self, x: f64) -> u8 {
        let level = match self {
            Self::Truncate => (x + 1.0) * 127.5,
            Self::Scale127_5Plus128 => x * 127.5 + 128.0,
            Self::HalfUp => ((x + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0 + 0.5,
            Self::HalfEven => ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even(),
        };
        level as u8 // truncates and saturates at 0 and 255
    }
}

/// A flow's times, evenly from 1 to 0 and then shifted: `steps` + 1 of them. The product's grids stop at the smallest
/// time that a network was trained at, and then go to 0 ([`flow::grid`]).
///
/// # Errors
/// `Error::Argument` unless `steps` ≥ 1 and the shift is finite and above 0.
pub fn flow_grid_to_zero(steps: usize, shift: f64) -> Result<Vec<f64>> {
    if steps == 0 {
        return Err(Error::argument("steps", "at least 1", steps));
    }
    flow::require_shift(shift)?;
    Ok(linspace(1.0, 0.0, steps + 1).into_iter().map(|t| flow::shift(t, shift)).collect())
}

/// Follows a flow's velocity by the midpoint method, from x at the first of the falling times `t` to the last: second
/// order, as the product's Heun is.
///
/// # Errors
/// `Error::Argument` unless the times fall strictly; those of `velocity`.
pub fn flow_by_midpoint(
    mut x: Tensor<4>,
    t: &[f64],
    velocity: &mut dyn FnMut(&Tensor<4>, f64) -> Result<Tensor<4>>,
) -> Result<Tensor<4>> {
    require_falling(t)?;
    for pair in t.windows(2) {
        let middle = (pair[0] + pair[1]) / 2.0;
        let x_middle = x.clone() + velocity(&x, pair[0])? * (middle - pair[0]);
        x = x + velocity(&x_middle, middle)? * (pair[1] - pair[0]);
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::DiagonalGaussian;
    use crate::data::tensors::to_images;
    use crate::testing::{samples, shaped, values};

    #[test]
    fn null_bias_of_one_dimension() {
        // l (1 + 1/4 + 1/4) / n.
        assert_eq!(null_bias(&[2.0], 10).unwrap(), 0.3);
        assert!(matches!(null_bias(&[-1.0], 10), Err(Error::Argument { .. })));
    }

    #[test]
    fn uncertainty_is_least_where_it_equals_the_error() {
        let at = |logvar: f64| uncertainty_loss(2.0, 1.5, logvar);
        let best = 3.0_f64.ln();
        assert!(at(best) < at(best + 0.1) && at(best) < at(best - 0.1));
    }

    /// The formula of two Gaussians is that which trains, where the second is N(0, 1).
    #[test]
    fn the_divergence_from_the_standard_normal_is_that_of_the_autoencoder() {
        for (mean, logvar) in [(0.0, 0.0), (1.5, -2.0), (-0.3, 0.7)] {
            let posterior = DiagonalGaussian::new(samples(&[mean]), samples(&[logvar])).unwrap();
            let expected = values(posterior.kl())[0];
            assert!((kl_of_gaussians((mean, logvar), (0.0, 0.0)) - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn half_to_even_is_how_pictures_are_written() {
        // In f32 a value that is nearly between two levels may go to either.
        let x: Vec<f64> = (0..3000).map(|i| -1.1 + i as f64 * 0.000_733).collect();
        let level = |x: f64| (x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
        let x: Vec<f64> = x.into_iter().filter(|&x| (level(x).fract() - 0.5).abs() > 1e-3).collect();
        let picture = shaped::<4>(&x.repeat(3), [1, 3, 1, x.len()]);
        let written = to_images(picture).unwrap().swap_remove(0);
        for (pixel, x) in written.pixels().zip(x) {
            assert_eq!(pixel.0, [Quantisation::HalfEven.level(x); 3], "{x}");
        }
    }
}
