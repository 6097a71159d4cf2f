//! Losses of a discriminator that tells reconstructions from pictures.
//!
//! Esser et al. 2021, arXiv:2012.09841, Section 3.1.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::nn::softplus;

/// What the discriminator minimises. What the autoencoder minimises against it is [`generator`] for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorLoss {
    /// [`hinge`]: patches that are told apart well enough do not count.
    #[default]
    Hinge,
    /// [`vanilla`]: every patch counts, the less the better it is told apart.
    Vanilla,
}

impl DiscriminatorLoss {
    /// The loss of the outputs for pictures and for reconstructions, `[1]`.
    pub fn of<const D: usize>(self, real: Tensor<D>, fake: Tensor<D>) -> Tensor<1> {
        match self {
            Self::Hinge => hinge(real, fake),
            Self::Vanilla => vanilla(real, fake),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{samples, values};

    /// ∂/∂real = −½ s(−real)/n and ∂/∂fake = ½ s(fake)/n with the logistic function s.
    #[test]
    fn the_vanilla_loss_teaches_by_how_much_it_is_wrong() {
        let (real, fake) = ([-2.0, 0.5, 7.0], [-40.0, 0.1, 1.5]);
        let [real_leaf, fake_leaf] = [real, fake].map(|x| samples(&x).autodiff().require_grad());
        let loss = DiscriminatorLoss::Vanilla.of(real_leaf.clone(), fake_leaf.clone());
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let entropy = |x: f64| (1.0 + x.exp()).ln() / 6.0;
        let expected: f64 = real.map(|x| entropy(-x)).iter().chain(&fake.map(entropy)).sum();
        assert!((values(loss.clone())[0] - expected).abs() < 1e-12);
        let gradients = loss.backward();
        for (leaf, expected) in
            [(real_leaf, real.map(|x| -logistic(-x) / 6.0)), (fake_leaf, fake.map(|x| logistic(x) / 6.0))]
        {
            for (got, expected) in values(leaf.grad(&gradients).unwrap()).into_iter().zip(expected) {
                assert!((got - expected).abs() < 1e-12, "{got}, expected {expected}");
            }
        }
    }
}
