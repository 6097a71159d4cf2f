//! Moving averages of the weights: what sampling uses.

use serde::{Deserialize, Serialize};

/// An exponential moving average (EMA) of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EmaConfig {
    /// Decay d = min(`Decay`, (1 + n)/(10 + n)) in step n, so that the random start is forgotten.
    Decay(f64),
    /// Weight ∝ tᵞ on the weights of step t: an average that grows as long as the training. Karras et al.
    /// 2024, arXiv:2312.02696, Eq. 121. Averages of any length can be made of two of these, see
    /// [`post_hoc_ema`](super::post_hoc_ema).
    Power {
        /// σ_rel: standard deviation of the profile over the length of the training, in (0, 0.2886].
        sigma_rel: f64,
    },
}

/// σ_rel of γ = 0, the mean of all steps: 1/√12.
const LARGEST_SIGMA_REL: f64 = 0.288_675_134_594_812_9;

impl EmaConfig {
    /// Refuses what is out of range.
    ///
    /// # Errors
    /// What is expected, and what there is.
    pub fn validate(self) -> Result<(), (String, String)> {
        let (holds, expected, got) = match self {
            EmaConfig::Decay(decay) => {
                ((0.0..1.0).contains(&decay), "a decay of at least 0 and below 1", decay)
            }
            EmaConfig::Power { sigma_rel } => {
                (gamma(sigma_rel).is_some(), "a sigma_rel above 0 and at most 0.2886", sigma_rel)
            }
        };
        if holds { Ok(()) } else { Err((expected.into(), got.to_string())) }
    }

    /// β_n of step `n` (from 1): average ← β_n·average + (1 − β_n)·θ.
    ///
    /// For a power function β_n = (1 − 1/n)^(γ+1), Eq. 127; exactly the weights ∫ γ-profile over [s − 1, s]
    /// for step s. A σ_rel out of range is taken as γ = 0; [`EmaConfig::validate`] refuses it.
    pub fn decay(self, n: usize) -> f64 {
        let n = n as f64;
        match self {
            EmaConfig::Decay(decay) => decay.min((1.0 + n) / (10.0 + n)),
            EmaConfig::Power { sigma_rel } => (1.0 - 1.0 / n).powf(gamma(sigma_rel).unwrap_or(0.0) + 1.0),
        }
    }

    /// Takes `value` into `average` with [`decay`](Self::decay) `beta`.
    pub(super) fn update(self, beta: f64, average: &mut [f32], value: &[f32]) {
        let pairs = average.iter_mut().zip(value);
        match self {
            EmaConfig::Decay(_) => {
                let decay = beta as f32;
                pairs.for_each(|(average, value)| *average = decay * *average + (1.0 - decay) * *value);
            }
            // 1 − β falls as 1/n: rounded after the subtraction, not before, it keeps all of its digits.
            EmaConfig::Power { .. } => {
                let share = (1.0 - beta) as f32;
                pairs.for_each(|(average, value)| *average += share * (*value - *average));
            }
        }
    }
}

/// σ_rel of the profile tᵞ: √((γ + 1)/((γ + 2)²(γ + 3))). arXiv:2312.02696, Eq. 123.
pub fn sigma_rel(gamma: f64) -> f64 {
    ((gamma + 1.0) / ((gamma + 2.0).powi(2) * (gamma + 3.0))).sqrt()
}

/// γ ≥ 0 of a σ_rel; `None` outside (0, 1/√12], where there is none.
///
/// It is the largest root of γ³ + 7γ² + (16 − s)γ + 12 − s with s = σ_rel⁻² (arXiv:2312.02696, Eq. 126 and
/// algorithm 2).
pub fn gamma(sigma_rel: f64) -> Option<f64> {
    if !(sigma_rel > 0.0 && sigma_rel <= LARGEST_SIGMA_REL) {
        return None;
    }
    let s = sigma_rel.powi(-2);
    // (γ + 2)² < s at the root, and the cubic is convex to the right of it: Newton's steps from √s only fall.
    let mut gamma = s.sqrt();
    for _ in 0..100 {
        let value = ((gamma + 7.0) * gamma + (16.0 - s)) * gamma + (12.0 - s);
        let slope = (3.0 * gamma + 14.0) * gamma + (16.0 - s);
        let next = gamma - value / slope;
        if next >= gamma {
            break;
        }
        gamma = next;
    }
    (gamma.is_finite()).then_some(gamma.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_the_papers_root() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizers.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in golden["post_hoc_ema"]["gammas"].as_array().unwrap() {
            let [sigma, expected] = ["sigma_rel", "gamma"].map(|key| case[key].as_f64().unwrap());
            let found = gamma(sigma).unwrap();
            assert!((found / expected - 1.0).abs() < 1e-10, "{case}: {found}");
            assert!((sigma_rel(found) / sigma - 1.0).abs() < 1e-12, "{case}");
        }
        assert!(gamma(LARGEST_SIGMA_REL).unwrap() < 1e-7);
        assert!([0.0, -0.1, 0.2887, f64::NAN].iter().all(|&sigma| gamma(sigma).is_none()));
    }

    #[test]
    fn a_power_average_has_the_profiles_weights() {
        let ema = EmaConfig::Power { sigma_rel: 0.1 };
        let exponent = gamma(0.1).unwrap() + 1.0;
        let steps = 400;
        let theta = |t: usize| (t as f64 * 0.03).sin() + 0.001 * t as f64;
        let mut average = vec![123.0]; // forgotten in the first step
        for t in 1..=steps {
            ema.update(ema.decay(t), &mut average, &[theta(t) as f32]);
        }
        let power = |t: usize| (t as f64 / steps as f64).powf(exponent);
        let expected: f64 = (1..=steps).map(|t| (power(t) - power(t - 1)) * theta(t)).sum();
        assert!((f64::from(average[0]) - expected).abs() < 1e-5, "{average:?} {expected}");
    }

    #[test]
    fn a_decay_starts_short() {
        let ema = EmaConfig::Decay(0.9);
        assert_eq!([1, 10, 1000].map(|n| ema.decay(n)), [2.0 / 11.0, 11.0 / 20.0, 0.9]);
        let mut average = vec![1.0];
        ema.update(0.75, &mut average, &[3.0]);
        assert_eq!(average, [1.5]);
    }
}
