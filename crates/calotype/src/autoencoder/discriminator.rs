//! Losses of a discriminator that tells reconstructions from pictures.
//!
//! Esser et al. 2021, arXiv:2012.09841, Section 3.1.

use burn::tensor::Tensor;

use crate::nn::softplus;

/// Hinge loss of the discriminator: ½ (mean max(0, 1 − real) + mean max(0, 1 + fake)), `[1]`.
///
/// Lim & Ye 2017, arXiv:1705.02894.
pub fn hinge<const D: usize>(real: Tensor<D>, fake: Tensor<D>) -> Tensor<1> {
    ((real.neg() + 1.0).clamp_min(0.0).mean() + (fake + 1.0).clamp_min(0.0).mean()) * 0.5
}

/// Cross-entropy of the discriminator: ½ (mean ln(1 + e^−real) + mean ln(1 + e^fake)), `[1]`.
///
/// Goodfellow et al. 2014, arXiv:1406.2661, Eq. 1.
pub fn vanilla<const D: usize>(real: Tensor<D>, fake: Tensor<D>) -> Tensor<1> {
    (softplus(real.neg()).mean() + softplus(fake).mean()) * 0.5
}

/// Loss of the autoencoder against the discriminator: −mean fake, `[1]`.
pub fn generator<const D: usize>(fake: Tensor<D>) -> Tensor<1> {
    fake.mean().neg()
}

/// What makes the two gradients at the decoder's last layer equally long: weight · clamp(‖∇nll‖/(‖∇g‖ +
/// 10⁻⁴), 0, 10⁴). Esser et al. 2021, Eq. 7.
pub fn adaptive_weight(grad_nll: &[f64], grad_g: &[f64], weight: f64) -> f64 {
    let norm = |gradient: &[f64]| gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    weight * (norm(grad_nll) / (norm(grad_g) + 1e-4)).clamp(0.0, 1e4)
}
