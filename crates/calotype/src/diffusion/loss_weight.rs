//! How much a timestep counts in the loss.

use super::PredictionType;
use crate::{Error, Result};

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
/// Choi et al. 2022, arXiv:2204.00227, Eq. 8; k = 1 and γ = 1 there.
///
/// # Errors
/// `Error::Argument` unless SNR ≥ 0 and k > 0.
pub fn p2(snr: f64, k: f64, gamma: f64) -> Result<f64> {
    require_snr(snr)?;
    if k.is_nan() || k <= 0.0 {
        return Err(Error::argument("k", "above 0", k));
    }
    Ok((k + snr).powf(-gamma))
}

fn require_snr(snr: f64) -> Result<()> {
    match snr >= 0.0 {
        true => Ok(()),
        false => Err(Error::argument("snr", "at least 0", snr)),
    }
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
        assert_eq!(p2(0.0, 1.0, 1.0).unwrap(), 1.0);
        assert_eq!(p2(3.0, 1.0, 0.5).unwrap(), 0.5);
        assert!(p2(-1.0, 1.0, 1.0).is_err() && p2(1.0, 0.0, 1.0).is_err());
    }
}
