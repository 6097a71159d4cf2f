//! How the latents of an autoencoder are spread: measured, never guessed.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::autoencoder::AutoencoderKl;
use crate::data::source::TrainingSet;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::files::atomic;

/// Pictures that are measured at most.
const PICTURES: u64 = 256;

/// Mean and spread over all numbers of the latents, and channel by channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatentStatistics {
    /// Pictures that were measured.
    pub pictures: u64,
    /// 1 / standard deviation over all numbers, to six digits.
    pub scaling_factor: f64,
    /// Mean of each channel, unscaled.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, unscaled.
    pub std: Vec<f64>,
}

impl LatentStatistics {
    /// Of the first training pictures. With the scale, latents have unit variance and the noise schedule means what
    /// it says: Rombach et al. 2022, appendix G.
    ///
    /// # Errors
    /// Those of `data`; `Error::NonFinite` for latents that are not numbers or all equal.
    pub fn measure(network: &AutoencoderKl, data: &TrainingSet, device: &Device) -> Result<Self> {
        let pictures = data.count().map_or(PICTURES, |count| PICTURES.min(count as u64));
        // By channel: n, Σ z, Σ z².
        let mut sums: Vec<[f64; 3]> = Vec::new();
        for n in 0..pictures {
            let posterior = network.encode(to_tensor(&[data.item(n)?.image], device)?)?;
            // E[z²] over the posterior is μ² + σ².
            let second = posterior.mean.clone().square() + posterior.logvar.exp();
            let [_, channels, h, w] = posterior.mean.dims();
            sums.resize(channels, [0.0; 3]);
            let each = by_channel(posterior.mean).into_iter().zip(by_channel(second));
            for (sum, (first, second)) in sums.iter_mut().zip(each) {
                *sum = [sum[0] + (h * w) as f64, sum[1] + first, sum[2] + second];
            }
        }
        let all = sums.iter().fold([0.0; 3], |all, sum| [all[0] + sum[0], all[1] + sum[1], all[2] + sum[2]]);
        let scale = 1.0 / moments(all).1;
        if !scale.is_finite() {
            let what = "scale of the latents".into();
            return Err(Error::NonFinite { what, step: 0, got: scale.to_string() });
        }
        let (mean, std) = sums.into_iter().map(moments).unzip();
        Ok(Self { pictures, scaling_factor: to_six_digits(scale), mean, std })
    }

    /// Writes `latent_statistics.json` beside the weights. Not into `config.json`: programs that know per-channel
    /// statistics there would normalise with them.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        atomic::write_json(&folder.join("latent_statistics.json"), self)
    }
}

/// Sum of each channel of `[1, C, h, w]`, in f64.
fn by_channel(x: Tensor<4>) -> Vec<f64> {
    let [_, _, h, w] = x.dims();
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(h * w).map(|channel| channel.iter().map(|&v| f64::from(v)).sum()).collect()
}

/// Mean and standard deviation.
fn moments([n, sum, sum_of_squares]: [f64; 3]) -> (f64, f64) {
    let mean = sum / n;
    (mean, (sum_of_squares / n - mean * mean).sqrt())
}

/// More digits than are measured; and unlike 17 digits these are read back as the same number by
/// every JSON reader.
fn to_six_digits(x: f64) -> f64 {
    let unit = 10f64.powi(5 - x.log10().floor() as i32);
    (x * unit).round() / unit
}
