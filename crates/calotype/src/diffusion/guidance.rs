//! Classifier-free guidance: away from the unconditional prediction, towards the prompt.

use burn::tensor::Tensor;

use super::same_shape;
use crate::{Error, Result};

/// How a prompt steers a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// s of [`classifier_free`]; 1 and less are off, as in diffusers: models that were distilled for few steps are
    /// run with 0.
    pub scale: f64,
    /// φ of [`rescale`], in [0, 1]; 0 is off.
    pub rescale: f64,
    /// Noise levels σ, lowest and highest, between which the scale holds; it is 1 elsewhere.
    ///
    /// Kynkäänniemi et al. 2024, arXiv:2404.07724, Eq. 5: guidance does harm where σ is high and nothing
    /// where it is low.
    pub interval: Option<(f64, f64)>,
}

impl Guidance {
    /// At all noise levels, not rescaled.
    pub fn new(scale: f64) -> Self {
        Self { scale, rescale: 0.0, interval: None }
    }

    /// Whether the unconditional prediction matters at noise level σ.
    pub fn is_on(&self, sigma: f64) -> bool {
        self.scale > 1.0 && self.interval.is_none_or(|(lowest, highest)| (lowest..=highest).contains(&sigma))
    }

    /// The guided prediction at noise level σ.
    ///
    /// # Errors
    /// As [`classifier_free`] and [`rescale`].
    pub fn apply(&self, cond: Tensor<4>, uncond: Tensor<4>, sigma: f64) -> Result<Tensor<4>> {
        if !self.is_on(sigma) {
            return Ok(cond);
        }
        let guided = classifier_free(cond.clone(), uncond, self.scale)?;
        match self.rescale {
            0.0 => Ok(guided),
            phi => rescale(guided, cond, phi),
        }
    }
}

/// ε̃ = ε_uncond + s·(ε_cond − ε_uncond).
///
/// Ho & Salimans 2022, arXiv:2207.12598, Eq. 6 (their guidance weight is w = s − 1). The formula
/// is linear, so it holds for v and x₀ predictions alike.
///
/// - `cond`, `uncond`: `[B, C, H, W]`, the network's outputs with and without the prompt.
/// - `scale`: s; 1 is the conditional prediction (guidance off), 0 the unconditional.
///
/// # Errors
/// `Error::Shape` if the shapes differ; `Error::Argument` unless `scale` is finite.
pub fn classifier_free(cond: Tensor<4>, uncond: Tensor<4>, scale: f64) -> Result<Tensor<4>> {
    same_shape("unconditional prediction", &cond, &uncond)?;
    if !scale.is_finite() {
        return Err(Error::argument("guidance", "a finite number (1 is off)", scale));
    }
    Ok(uncond.clone() + (cond - uncond).mul_scalar(scale))
}

/// The prediction for several prompts at once: ε_∅ + Σ_i w_i·(ε_i − ε_∅).
///
/// Liu et al. 2022 (Composable Diffusion), arXiv:2206.01714, Eq. 11, without the guidance scale: under
/// [`classifier_free`] with scale s it becomes ε_∅ + Σ_i s·w_i·(ε_i − ε_∅).
///
/// - `parts`: ε_i and w_i, any finite number; below 0 is Eq. 12, away from the prompt. `uncond`: ε_∅. All of one shape,
///   `[B, C, H, W]`.
///
/// # Errors
/// `Error::Shape` if the shapes differ; `Error::Argument` for a weight that is not finite.
pub fn compose(parts: &[(Tensor<4>, f64)], uncond: Tensor<4>) -> Result<Tensor<4>> {
    let mut sum = uncond.clone();
    for (cond, weight) in parts {
        same_shape("unconditional prediction", cond, &uncond)?;
        if !weight.is_finite() {
            return Err(Error::argument("weight of a prompt", "a finite number", weight));
        }
        sum = sum + (cond.clone() - uncond.clone()).mul_scalar(*weight);
    }
    Ok(sum)
}

/// Guided output with the spread of the conditional one: φ·g·std(cond)/std(g) + (1−φ)·g.
///
/// Strong guidance stretches the prediction's values and over-exposes pictures. Lin et al. 2023,
/// arXiv:2305.08891, Eqs. 14 to 16.
///
/// - `guided`: g of [`classifier_free`]; `cond`: the conditional output; `[B, C, H, W]`.
/// - `phi`: φ in [0, 1]; 0 changes nothing, 0.7 in the paper. std is over each sample, divisor n.
///
/// # Errors
/// `Error::Shape` if the shapes differ; `Error::Argument` unless φ is in [0, 1].
pub fn rescale(guided: Tensor<4>, cond: Tensor<4>, phi: f64) -> Result<Tensor<4>> {
    same_shape("conditional prediction", &guided, &cond)?;
    if !(0.0..=1.0).contains(&phi) {
        return Err(Error::argument("guidance rescale", "0 to 1", phi));
    }
    let ratio = std(cond) / std(guided.clone()); // [B, 1, 1, 1]
    Ok(guided.clone() * (ratio * phi + (1.0 - phi)))
}

/// Standard deviation over each sample: `[B, 1, 1, 1]`.
fn std(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c * h * w]);
    let deviation = x.clone() - x.mean_dim(1);
    deviation.square().mean_dim(1).sqrt().reshape([b, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_refuses, samples as tensor, values};

    #[test]
    fn guidance_holds_inside_its_interval() {
        let (cond, uncond) = (tensor(&[1.0, 2.0]), tensor(&[0.0, 4.0]));
        let guidance = Guidance { interval: Some((0.3, 5.0)), ..Guidance::new(3.0) };
        let at = |sigma| values(guidance.apply(cond.clone(), uncond.clone(), sigma).unwrap());
        assert_eq!(at(0.3), [3.0, -2.0]);
        assert_eq!((at(0.29), at(5.1)), (vec![1.0, 2.0], vec![1.0, 2.0]));
        assert!(!Guidance::new(1.0).is_on(1.0));
    }

    #[test]
    fn prompts_add_up() {
        let (a, b, uncond) = (tensor(&[3.0, 1.0]), tensor(&[0.0, 5.0]), tensor(&[1.0, 2.0]));
        // 1 + 1·(3 − 1) − ½·(0 − 1) and 2 + 1·(1 − 2) − ½·(5 − 2).
        let composed = compose(&[(a.clone(), 1.0), (b.clone(), -0.5)], uncond.clone()).unwrap();
        assert_eq!(values(composed.clone()), [3.5, -0.5]);
        // Under guidance every weight is multiplied by the scale.
        let guided = Guidance::new(3.0).apply(composed, uncond.clone(), 1.0).unwrap();
        let by_hand = compose(&[(a.clone(), 3.0), (b, -1.5)], uncond.clone()).unwrap();
        assert_eq!(values(guided), values(by_hand));
        assert_eq!(values(compose(&[(a.clone(), 1.0)], uncond.clone()).unwrap()), values(a.clone()));
        assert_refuses(compose(&[(a.clone(), f64::NAN)], uncond), "weight of a prompt: expected a finite");
        assert_refuses(compose(&[(a, 1.0)], tensor(&[1.0])), "unconditional prediction: expected");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let x = tensor(&[1.0, 2.0]);
        assert_refuses(classifier_free(x.clone(), tensor(&[1.0]), 2.0), "unconditional prediction: expected");
        assert_refuses(classifier_free(x.clone(), x.clone(), f64::NAN), "guidance: expected a finite number");
        assert_refuses(rescale(x.clone(), x, 1.1), "guidance rescale: expected 0 to 1");
    }
}
