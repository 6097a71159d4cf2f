//! Classifier-free guidance: away from the unconditional prediction, towards the prompt.

use burn::tensor::Tensor;

use super::same_shape;
use crate::{Error, Result};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::golden;

    #[test]
    fn golden_guidance() {
        let cases = golden::cases(golden::SAMPLERS, "guidance");
        assert_eq!(cases.len(), 3);
        for case in cases {
            let (cond, uncond) =
                (golden::tensor(&case.numbers("cond")), golden::tensor(&case.numbers("uncond")));
            let guided = classifier_free(cond, uncond, case.number("scale")).unwrap();
            case.check("guided", &golden::values(guided));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let x = golden::tensor(&[1.0, 2.0]);
        assert!(classifier_free(x.clone(), golden::tensor(&[1.0]), 2.0).is_err());
        assert!(classifier_free(x.clone(), x, f64::NAN).is_err());
    }
}
