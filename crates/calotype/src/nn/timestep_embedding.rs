//! The timestep as a vector.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation::silu};

use super::{Init, Linear};

/// Sinusoids of the timesteps: `[B]` to `[B, width]`.
///
/// Frequency i is exp(−ln(10000)·i / (width/2 − `freq_shift`)), i < width/2. Vaswani et al. 2017,
/// section 3.5, in the form of Ho et al. 2020; `flip_sin_to_cos` puts the cosines first, as Stable
/// Diffusion does. An odd width ends in a zero.
pub fn sinusoids(
    timesteps: &[f64],
    width: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
    device: &Device,
) -> Tensor<2> {
    let half = width / 2;
    let mut values = Vec::with_capacity(timesteps.len() * width);
    for &t in timesteps {
        let angle = |i: usize| {
            let exponent = -(10000f64.ln()) * i as f64 / (half as f64 - freq_shift);
            t * exponent.exp()
        };
        let sines = (0..half).map(|i| angle(i).sin() as f32);
        let cosines = (0..half).map(|i| angle(i).cos() as f32);
        if flip_sin_to_cos {
            values.extend(cosines.chain(sines))
        } else {
            values.extend(sines.chain(cosines))
        }
        values.extend((2 * half..width).map(|_| 0.0));
    }
    Tensor::from_data(TensorData::new(values, [timesteps.len(), width]), device)
}

/// The two-layer network on top of the sinusoids.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// `[time width, channels]`.
    pub linear_1: Linear,
    /// `[channels, condition width]`: adds an embedded condition to the sinusoids.
    pub cond_proj: Option<Linear>,
    /// `[time width, time width]`.
    pub linear_2: Linear,
}

impl TimestepEmbedding {
    /// From `channels` sinusoids to `width` features.
    pub fn new(channels: usize, width: usize, init: &mut Init) -> Self {
        Self {
            linear_1: Linear::new(channels, width, true, init),
            cond_proj: None,
            linear_2: Linear::new(width, width, true, init),
        }
    }

    /// With a condition of `condition` numbers beside the `channels` sinusoids.
    pub fn with_condition(mut self, channels: usize, condition: usize, init: &mut Init) -> Self {
        self.cond_proj = Some(Linear::new(condition, channels, false, init));
        self
    }

    /// `[B, channels]` to `[B, width]`.
    pub fn forward(&self, sinusoids: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(sinusoids)))
    }

    /// [`TimestepEmbedding::forward`] with a condition `[B, condition]`, where the network takes one.
    pub fn forward_with(&self, sinusoids: Tensor<2>, condition: Option<Tensor<2>>) -> Tensor<2> {
        match (&self.cond_proj, condition) {
            (Some(projection), Some(condition)) => self.forward(sinusoids + projection.forward(condition)),
            _ => self.forward(sinusoids),
        }
    }
}
