//! Latents as a denoiser sees them: with a standard deviation of about 1.

use burn::tensor::{Device, Tensor, TensorData};

/// (z − shift)·scale of unscaled latents z, and back; one number for each channel, or one for all.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentScaling {
    shift: Vec<f32>,
    scale: Vec<f32>,
}

impl LatentScaling {
    /// The scaling by these numbers, in f32.
    pub fn new(shift: &[f64], scale: &[f64]) -> Self {
        let in_f32 = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Self { shift: in_f32(shift), scale: in_f32(scale) }
    }

    /// Scales one latent in memory, `[Z, h, w]` with Z `channels`.
    pub fn scale_in_memory(&self, latent: &mut [f32], channels: usize) {
        let pixels = (latent.len() / channels).max(1);
        for (c, channel) in latent.chunks_mut(pixels).enumerate() {
            let [shift, scale] = [&self.shift, &self.scale].map(|values| values[c % values.len()]);
            channel.iter_mut().for_each(|z| *z = (*z - shift) * scale);
        }
    }

    /// Scaled latents of unscaled ones `[B, Z, h, w]`, to the same bits.
    pub fn scale(&self, z: Tensor<4>) -> Tensor<4> {
        let [shift, scale] = self.tensors(&z.device());
        (z - shift) * scale
    }

    /// Unscaled latents of scaled ones `[B, Z, h, w]`.
    pub fn unscale(&self, latents: Tensor<4>) -> Tensor<4> {
        let [shift, scale] = self.tensors(&latents.device());
        latents / scale + shift
    }

    /// `[1, Z or 1, 1, 1]` each.
    fn tensors(&self, device: &Device) -> [Tensor<4>; 2] {
        [&self.shift, &self.scale]
            .map(|values| Tensor::from_data(TensorData::new(values.clone(), [1, values.len(), 1, 1]), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_and_a_latent_in_memory_are_scaled_to_the_same_bits() {
        let z: Vec<f32> = (0..2 * 3 * 4).map(|i| (i as f32 * 0.7).sin() * 5.0).collect();
        for (shift, scale) in [(&[0.1][..], &[0.18215][..]), (&[0.3, -1.7, 2.2], &[0.9, 1.1, 0.3])] {
            let scaling = LatentScaling::new(shift, scale);
            let mut in_memory = z.clone();
            in_memory.chunks_mut(3 * 4).for_each(|latent| scaling.scale_in_memory(latent, 3));
            let z = Tensor::<4>::from_data(TensorData::new(z.clone(), [2, 3, 2, 2]), &Device::flex());
            let scaled = scaling.scale(z.clone());
            assert_eq!(scaled.to_data().iter::<f32>().collect::<Vec<_>>(), in_memory);
            let difference: f32 = (scaling.unscale(scaled) - z).abs().max().into_scalar();
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
