//! What every block is told: the noise level, the guidance scale and the text as a whole.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::config::FluxConfig;
use crate::nn::Init;
use crate::nn::timestep_embedding::TimestepEmbedding;

/// Sinusoids of a number.
const SINUSOIDS: usize = 256;

/// time(1000·t) + guidance(1000·g) + text(pooled), each a network of two layers.
#[derive(Module, Debug)]
pub struct ConditionEmbedding {
    timestep_embedder: TimestepEmbedding,
    guidance_embedder: Option<TimestepEmbedding>,
    text_embedder: TimestepEmbedding,
}

impl ConditionEmbedding {
    /// Of the widths of `config`.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Self {
        let width = config.width();
        Self {
            timestep_embedder: TimestepEmbedding::new(SINUSOIDS, width, init),
            guidance_embedder: config.guidance_embeds.then(|| TimestepEmbedding::new(SINUSOIDS, width, init)),
            text_embedder: TimestepEmbedding::new(config.pooled_projection_dim, width, init),
        }
    }

    /// Whether there is a guidance scale to tell.
    pub fn takes_guidance(&self) -> bool {
        self.guidance_embedder.is_some()
    }

    /// `[B, D]`. `timesteps`: 1000·t; `guidance`: the scales themselves, of networks that take them; `pooled`:
    /// `[B, width]`.
    pub fn forward(&self, timesteps: &[f64], guidance: Option<&[f64]>, pooled: Tensor<2>) -> Tensor<2> {
        let device = pooled.device();
        let time = self.timestep_embedder.forward(sinusoids(timesteps, &device));
        let time = match (&self.guidance_embedder, guidance) {
            (Some(network), Some(scales)) => {
                let scales: Vec<f64> = scales.iter().map(|scale| 1000.0 * scale).collect();
                time + network.forward(sinusoids(&scales, &device))
            }
            _ => time,
        };
        time + self.text_embedder.forward(pooled)
    }
}

/// Cosines, then sines of each number: `[B, 256]`. Frequency i is exp(−ln(10000)·i/128).
///
/// In f32 throughout, as diffusers has it whatever the dtype of the network: at 1000·g, some thousands, the rounding of
/// an angle is seen in its sine, and this is what the published networks have been told.
fn sinusoids(numbers: &[f64], device: &Device) -> Tensor<2> {
    let half = SINUSOIDS / 2;
    let frequency = |i: usize| {
        let exponent = -(10_000f64.ln() as f32) * i as f32 / half as f32;
        f64::from(exponent).exp() as f32
    };
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let mut values = Vec::with_capacity(numbers.len() * SINUSOIDS);
    for &number in numbers {
        let angle = |frequency: &f32| f64::from(number as f32 * frequency);
        values.extend(frequencies.iter().map(|frequency| angle(frequency).cos() as f32));
        values.extend(frequencies.iter().map(|frequency| angle(frequency).sin() as f32));
    }
    Tensor::from_data(TensorData::new(values, [numbers.len(), SINUSOIDS]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_come_first() {
        let values: Vec<f32> = sinusoids(&[0.0, 500.0], &Device::flex()).into_data().iter().collect();
        assert!(values[..128].iter().all(|&cosine| cosine == 1.0));
        assert!(values[128..256].iter().all(|&sine| sine == 0.0));
        assert_eq!(values[256], 500f64.cos() as f32);
        assert_eq!(values[256 + 128], 500f64.sin() as f32);
        let lowest = 500.0 * 10_000f64.powf(-127.0 / 128.0);
        assert!((f64::from(values[511]) - lowest.sin()).abs() < 1e-6);
    }
}
