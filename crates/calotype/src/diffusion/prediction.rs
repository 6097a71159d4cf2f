//! What the network predicts, and what each prediction says about x₀ and ε.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::forward_process::{Rates, scale};
use crate::{Error, Result};

/// The quantity a denoiser is trained to output. Serde names are those of diffusers'
/// `prediction_type`.
///
/// All tensors are `[B, C, H, W]`; `rates` belong to the timestep(s) of `x_t`. Every function gives
/// `Error::Shape` if shapes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε (Ho et al. 2020, arXiv:2006.11239, Eq. 14).
    #[default]
    Epsilon,
    /// The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans & Ho 2022, arXiv:2202.00512, section 4).
    VPrediction,
    /// The clean sample x₀.
    Sample,
    /// The velocity ε − x₀ of a flow (Lipman et al. 2023, arXiv:2210.02747); with x_t = a·x₀ + b·ε it
    /// holds x₀ and ε for any a and b, and a + b = 1 for a flow ([`Rates::flow`]).
    #[serde(rename = "flow_prediction")]
    Flow,
}

impl PredictionType {
    /// The training target for a network that sees x_t = √ᾱ·x₀ + √(1−ᾱ)·ε.
    pub fn target(self, x_0: Tensor<4>, eps: Tensor<4>, rates: &Rates) -> Result<Tensor<4>> {
        rates.check("training target", &x_0, &eps)?;
        Ok(match self {
            Self::Epsilon => eps,
            Self::VPrediction => scale(eps, rates.signal()) - scale(x_0, rates.noise()),
            Self::Sample => x_0,
            Self::Flow => eps - x_0,
        })
    }

    /// x̂₀ from the network's output at `x_t`.
    ///
    /// # Errors
    /// `Error::Argument` for ε at ᾱ = 0, where x_t holds no signal and ε says nothing about x₀.
    pub fn x_0(self, output: Tensor<4>, x_t: Tensor<4>, rates: &Rates) -> Result<Tensor<4>> {
        rates.check("predicted x_0", &x_t, &output)?;
        Ok(match self {
            Self::Epsilon => {
                let inverse =
                    reciprocals(rates.signal(), "alpha_bar", "above 0 for epsilon prediction", "0")?;
                scale(x_t - scale(output, rates.noise()), &inverse)
            }
            Self::VPrediction => scale(x_t, rates.signal()) - scale(output, rates.noise()),
            Self::Sample => output,
            Self::Flow => scale(x_t - scale(output, rates.noise()), &sums(rates)),
        })
    }

    /// ε̂ from the network's output at `x_t`.
    ///
    /// # Errors
    /// `Error::Argument` for x₀ at ᾱ = 1, where x_t holds no noise and x₀ says nothing about ε.
    pub fn eps(self, output: Tensor<4>, x_t: Tensor<4>, rates: &Rates) -> Result<Tensor<4>> {
        rates.check("predicted noise", &x_t, &output)?;
        Ok(match self {
            Self::Epsilon => output,
            Self::VPrediction => scale(x_t, rates.noise()) + scale(output, rates.signal()),
            Self::Sample => {
                let inverse = reciprocals(rates.noise(), "alpha_bar", "below 1 for sample prediction", "1")?;
                scale(x_t - scale(output, rates.signal()), &inverse)
            }
            Self::Flow => scale(x_t + scale(output, rates.signal()), &sums(rates)),
        })
    }
}

/// 1/(a + b) of every pair of rates; a + b is at least 1.
fn sums(rates: &Rates) -> Vec<f64> {
    rates.signal().iter().zip(rates.noise()).map(|(signal, noise)| 1.0 / (signal + noise)).collect()
}

/// 1/r of every rate, refusing a rate of 0.
fn reciprocals(rates: &[f64], name: &str, expected: &str, got: &str) -> Result<Vec<f64>> {
    if rates.contains(&0.0) {
        return Err(Error::argument(name, expected, got));
    }
    Ok(rates.iter().map(|rate| 1.0 / rate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::forward_process::add_noise;
    use crate::testing::{assert_refuses, samples as tensor, values};

    const ALL: [PredictionType; 4] =
        [PredictionType::Epsilon, PredictionType::VPrediction, PredictionType::Sample, PredictionType::Flow];

    #[test]
    fn a_perfect_output_recovers_x_0_and_eps() {
        let (x_0, eps) = (tensor(&[0.5, -2.0, 1.0]), tensor(&[1.5, 0.25, -1.0]));
        let all = ALL.into_iter();
        let with_rates = all
            .flat_map(|kind| [Rates::new(&[0.3]), Rates::flow(&[0.3])].map(|rates| (kind, rates.unwrap())));
        // v is defined where the squares of the rates sum to 1.
        let v_of_a_flow = (PredictionType::VPrediction, Rates::flow(&[0.3]).unwrap());
        for (prediction, rates) in with_rates.filter(|pair| *pair != v_of_a_flow) {
            let x_t = add_noise(x_0.clone(), eps.clone(), &rates).unwrap();
            let output = prediction.target(x_0.clone(), eps.clone(), &rates).unwrap();
            let got_x_0 = prediction.x_0(output.clone(), x_t.clone(), &rates).unwrap();
            let got_eps = prediction.eps(output, x_t.clone(), &rates).unwrap();
            for (got, wanted) in [(got_x_0, &x_0), (got_eps, &eps)] {
                let error = values((got - wanted.clone()).abs().max().reshape([1, 1, 1, 1]))[0];
                assert!(error < 1e-14, "{prediction:?}: {error}");
            }
        }
    }

    #[test]
    fn refuses_a_timestep_that_says_nothing() {
        let x = || tensor(&[1.0, 2.0]);
        let (all_noise, clean) = (Rates::new(&[0.0]).unwrap(), Rates::new(&[1.0]).unwrap());
        assert_refuses(
            PredictionType::Epsilon.x_0(x(), x(), &all_noise),
            "alpha_bar: expected above 0 for epsilon prediction",
        );
        assert!(PredictionType::VPrediction.x_0(x(), x(), &all_noise).is_ok());
        assert_refuses(
            PredictionType::Sample.eps(x(), x(), &clean),
            "alpha_bar: expected below 1 for sample prediction",
        );
        assert_refuses(
            PredictionType::Sample.x_0(x(), tensor(&[1.0]), &clean),
            "predicted x_0: expected [1, 1, 1, 1], got [2, 1, 1, 1]",
        );
    }
}
