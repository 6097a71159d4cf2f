//! Where a sampler's random numbers come from: one stream per picture, so that picture i of a seed
//! is the same in every batch.

use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Philox, Purpose};
use crate::{Error, Result};

/// What a stochastic sampler asks for z ~ N(0, I).
pub trait Noise {
    /// Fresh noise of the shape, dtype and device of `x` `[B, C, H, W]`.
    fn draw(&mut self, x: &Tensor<4>) -> Result<Tensor<4>>;
}

impl<F: FnMut(&Tensor<4>) -> Result<Tensor<4>>> Noise for F {
    fn draw(&mut self, x: &Tensor<4>) -> Result<Tensor<4>> {
        self(x)
    }
}

/// One Philox stream per picture of a batch.
#[derive(Debug, Clone)]
pub struct NoiseSource {
    streams: Vec<Philox>,
}

impl NoiseSource {
    /// Streams of the pictures `image_indices` of `seed`.
    pub fn new(seed: u64, image_indices: &[u64]) -> Self {
        let stream = |&index: &u64| Philox::new(seed, Purpose::SamplerNoise, index);
        Self { streams: image_indices.iter().map(stream).collect() }
    }
}

impl Noise for NoiseSource {
    fn draw(&mut self, x: &Tensor<4>) -> Result<Tensor<4>> {
        let [batch, channels, height, width] = x.dims();
        if batch != self.streams.len() {
            return Err(Error::shape("sampler noise", format!("{} pictures", self.streams.len()), batch));
        }
        let data = draw_each(&mut self.streams, [channels, height, width]);
        Ok(Tensor::from_data(data, (&x.device(), x.dtype())))
    }
}

/// The unit noise x_T that pictures `image_indices` of `seed` start from, `[B, C, H, W]` with
/// `shape` = `[C, H, W]`.
pub fn initial_latents(seed: u64, image_indices: &[u64], shape: [usize; 3], device: &Device) -> Tensor<4> {
    let stream = |&index: &u64| Philox::new(seed, Purpose::InitialLatent, index);
    let mut streams: Vec<Philox> = image_indices.iter().map(stream).collect();
    Tensor::from_data(draw_each(&mut streams, shape), device)
}

fn draw_each(streams: &mut [Philox], [channels, height, width]: [usize; 3]) -> TensorData {
    let normals: Vec<f32> =
        streams.iter_mut().flat_map(|stream| stream.normals(channels * height * width)).collect();
    TensorData::new(normals, [streams.len(), channels, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_test::tensors::values;

    #[test]
    fn a_picture_does_not_depend_on_its_batch() {
        let device = Device::flex();
        let shape = [3, 2, 5];
        let together = initial_latents(11, &[4, 0, 9], shape, &device);
        for (i, index) in [4, 0, 9].into_iter().enumerate() {
            let alone = initial_latents(11, &[index], shape, &device);
            assert_eq!(values(together.clone().narrow(0, i, 1)), values(alone.clone()));
            assert_ne!(values(initial_latents(12, &[index], shape, &device)), values(alone));
        }

        let mut batch = NoiseSource::new(11, &[4, 0, 9]);
        let mut alone = NoiseSource::new(11, &[9]);
        let mut seen: Vec<Vec<f64>> = vec![values(together.clone().narrow(0, 2, 1))];
        for _ in 0..3 {
            let picture = values(batch.draw(&together).unwrap().narrow(0, 2, 1));
            assert_eq!(picture, values(alone.draw(&together.clone().narrow(0, 2, 1)).unwrap()));
            assert!(!seen.contains(&picture), "every draw is new");
            seen.push(picture);
        }
        assert!(batch.draw(&together.narrow(0, 0, 2)).is_err());
    }
}
