//! How much a timestep counts in the loss.

use super::PredictionType;
use crate::{Error, Result};

/// How the timesteps of a training count, each by its signal-to-noise ratio.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum LossWeight {
    /// All alike.
    #[default]
    Uniform,
    /// [`min_snr`].
    MinSnr {
        /// Above 0.
        gamma: f64,
    },
    /// [`p2`].
    P2 {
        /// Above 0.
        k: f64,
        /// At least 0.
        gamma: f64,
    },
}

impl LossWeight {
    /// What the squared error of the network's output is multiplied by at each of these ratios; `None` where that
    /// is 1 for all.
    ///
    /// # Errors
    /// As [`min_snr`] and [`p2`].
    pub fn of(self, snr: &[f64], prediction: PredictionType) -> Result<Option<Vec<f64>>> {
        let weight = |&snr: &f64| match self {
            Self::Uniform => Ok(1.0),
            Self::MinSnr { gamma } => min_snr(snr, gamma, prediction),
            Self::P2 { k, gamma } => p2(snr, k, gamma, prediction),
        };
        (self != Self::Uniform).then(|| snr.iter().map(weight).collect()).transpose()
    }
}

/// Min-SNR-γ: what the squared error of a network's own output is multiplied by.
///
/// The paper's weight min(SNR, γ) belongs to the error of x₀; an error of ε is 1/SNR and one of v
/// 1/(SNR+1) of it, so the factor is min(SNR, γ)/SNR for ε, min(SNR, γ)/(SNR+1) for v and min(SNR, γ)
/// for x₀. The velocity of a flow counts min(SNR, γ)/(1 + √SNR)². At SNR = 0 the limits are 1, 0, 0 and 0.
///
/// Hang et al. 2023, arXiv:2303.09556, Section 3.4; γ = 5 there.
///
/// # Errors
/// `Error::Argument` unless SNR ≥ 0 and γ > 0.
pub fn min_snr(snr: f64, gamma: f64, prediction: PredictionType) -> Result<f64> {
    require_snr(snr)?;
    if gamma.is_nan() || gamma <= 0.0 {
        return Err(Error::argument("gamma", "above 0", gamma));
    }
    let clipped = snr.min(gamma);
    Ok(match prediction {
        PredictionType::Epsilon if snr == 0.0 => 1.0,
        PredictionType::Epsilon => clipped / snr,
        PredictionType::VPrediction => clipped / (snr + 1.0),
        PredictionType::Sample => clipped,
        PredictionType::Flow => clipped / (1.0 + snr.sqrt()).powi(2),
    })
}

/// P2: 1/(k + SNR)^γ times the squared error of ε; little weight where only detail is left to learn.
///
/// An error of v is (SNR+1)/SNR times that of ε, one of x₀ 1/SNR and one of a flow's velocity (1 + √SNR)²/SNR times,
/// so for these the factor is as many times smaller. γ = 0 counts every error as one of ε.
///
/// Choi et al. 2022, arXiv:2204.00227, Eq. 8; k = 1 and γ = 1 there.
///
/// # Errors
/// `Error::Argument` unless SNR ≥ 0 and k > 0.
pub fn p2(snr: f64, k: f64, gamma: f64, prediction: PredictionType) -> Result<f64> {
    require_snr(snr)?;
    if k.is_nan() || k <= 0.0 {
        return Err(Error::argument("k", "above 0", k));
    }
    let of_eps = (k + snr).powf(-gamma);
    Ok(match prediction {
        PredictionType::Epsilon => of_eps,
        // In this form they are right at SNR = 0 and, where a flow holds no noise, at infinity.
        PredictionType::VPrediction => of_eps / (1.0 + 1.0 / snr),
        PredictionType::Sample => of_eps * snr,
        PredictionType::Flow => of_eps / (1.0 + 1.0 / snr.sqrt()).powi(2),
    })
}

fn require_snr(snr: f64) -> Result<()> {
    if snr >= 0.0 { Ok(()) } else { Err(Error::argument("snr", "at least 0", snr)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of x₀ seen as an error of ε or v has the same weight in all three.
    #[test]
    fn min_snr_weighs_the_same_error_alike() {
        for snr in [0.01_f64, 0.7, 5.0, 300.0] {
            let weight = |prediction| min_snr(snr, 5.0, prediction).unwrap();
            let of_x_0 = weight(PredictionType::Sample);
            assert!((weight(PredictionType::Epsilon) * snr - of_x_0).abs() < 1e-12 * of_x_0);
            assert!((weight(PredictionType::VPrediction) * (snr + 1.0) - of_x_0).abs() < 1e-12 * of_x_0);
        }
    }

    #[test]
    fn p2_falls_with_the_signal() {
        let eps = PredictionType::Epsilon;
        assert_eq!(p2(0.0, 1.0, 1.0, eps).unwrap(), 1.0);
        assert_eq!(p2(3.0, 1.0, 0.5, eps).unwrap(), 0.5);
        for (snr, k, name) in [(-1.0, 1.0, "snr"), (1.0, 0.0, "k")] {
            let error = p2(snr, k, 1.0, eps).unwrap_err();
            assert!(matches!(&error, Error::Argument { name: found, .. } if *found == name), "{error}");
        }
    }

    /// The same network's error, seen as one of each quantity, has the same weight: all follow from an error d of ε.
    #[test]
    fn p2_weighs_the_same_error_alike() {
        for alpha_bar in [0.02_f64, 0.5, 0.97] {
            let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
            let snr = alpha_bar / (1.0 - alpha_bar);
            let of_x_0 = -noise / signal; // x₀ = (x_t − noise·ε)/signal
            let weight = |prediction| p2(snr, 1.0, 0.7, prediction).unwrap();
            let counted = weight(PredictionType::Epsilon);
            for (prediction, error) in [
                (PredictionType::Sample, of_x_0),
                (PredictionType::VPrediction, signal - noise * of_x_0),
                (PredictionType::Flow, 1.0 - of_x_0),
            ] {
                let other = weight(prediction) * error * error;
                assert!((other / counted - 1.0).abs() < 1e-12, "{prediction:?} at {alpha_bar}: {other}");
            }
        }
        let at = |snr, prediction| p2(snr, 1.0, 1.0, prediction).unwrap();
        for prediction in [PredictionType::VPrediction, PredictionType::Sample, PredictionType::Flow] {
            assert_eq!(at(0.0, prediction), 0.0);
        }
        assert_eq!(at(f64::INFINITY, PredictionType::Flow), 0.0);
    }
}
