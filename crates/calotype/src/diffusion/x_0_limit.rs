//! Limits on the predicted x₀, for models of pixels.

use burn::tensor::{Tensor, TensorData};

use super::SchedulerConfig;
use crate::{Error, Result};

/// What is done to x̂₀ before a sampler uses it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum X0Limit {
    /// Nothing, as for latents.
    Unlimited,
    /// Clamped to ± this.
    Clip(f64),
    /// Dynamic thresholding: with s the quantile `ratio` of |x̂₀| of each sample, at least 1 and at most
    /// `max`, clamped to ± s and divided by s.
    ///
    /// Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    Dynamic {
        /// In [0, 1].
        ratio: f64,
        /// At least 1.
        max: f64,
    },
}

impl X0Limit {
    /// What a model's configuration asks for; thresholding goes before clipping, as in diffusers.
    pub fn of(config: &SchedulerConfig) -> Self {
        match (config.thresholding, config.clip_sample) {
            (true, _) => {
                Self::Dynamic { ratio: config.dynamic_thresholding_ratio, max: config.sample_max_value }
            }
            (false, true) => Self::Clip(config.clip_sample_range),
            (false, false) => Self::Unlimited,
        }
    }

    /// Refuses a model that limits x̂₀, for samplers that combine outputs of the network and have no x̂₀.
    ///
    /// # Errors
    /// `Error::Argument`.
    pub fn require_none(config: &SchedulerConfig, sampler: impl std::fmt::Display) -> Result<()> {
        match Self::of(config) {
            Self::Unlimited => Ok(()),
            _ => {
                let expected = "one that can limit x_0: the model has clip_sample or thresholding";
                Err(Error::argument("sampler", expected, sampler))
            }
        }
    }

    /// x̂₀ within the limit: `[B, C, H, W]` to the same.
    pub fn apply(self, x_0: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Unlimited => x_0,
            Self::Clip(range) => x_0.clamp(-range, range),
            Self::Dynamic { ratio, max } => {
                let batch = x_0.dims()[0];
                let absolute: Vec<f64> = x_0.clone().abs().into_data().iter::<f64>().collect();
                let each = absolute.chunks(absolute.len() / batch);
                let s: Vec<f64> = each.map(|sample| quantile(sample, ratio).max(1.0).min(max)).collect();
                let s = TensorData::new(s, [batch, 1, 1, 1]);
                let s = Tensor::from_data(s, (&x_0.device(), x_0.dtype())); // [B, 1, 1, 1]
                // Clamping x/s to ±1 is clamping x to ±s and dividing by s.
                (x_0 / s).clamp(-1.0, 1.0)
            }
        }
    }
}

/// The quantile `q` in [0, 1] of values, linear between neighbours.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + at.fract() * (above - below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{shaped, values};

    #[test]
    fn thresholding_is_per_sample_and_never_stretches() {
        let x = shaped::<4>(&[0.5, -0.1, 0.2, 4.0, -2.0, 0.0], [2, 1, 1, 3]);
        let limit = X0Limit::Dynamic { ratio: 0.5, max: 3.0 };
        // The first sample stays inside ±1; the median of the second is 2.
        assert_eq!(values(limit.apply(x.clone())), [0.5, -0.1, 0.2, 1.0, -1.0, 0.0]);
        let most = X0Limit::Dynamic { ratio: 1.0, max: 3.0 };
        assert_eq!(values(most.apply(x.clone()))[4], -2.0 / 3.0);
        assert_eq!(values(X0Limit::Clip(0.3).apply(x.clone()))[..3], [0.3, -0.1, 0.2]);
        assert_eq!(values(X0Limit::Unlimited.apply(x.clone())), values(x));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0], 0.75), 2.5);
        assert_eq!(quantile(&[7.0], 0.995), 7.0);
    }
}
