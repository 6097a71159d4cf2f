//! Where a sampler's random numbers come from: one stream per picture, so that picture i of a seed
//! is the same in every batch.

use burn::tensor::{Device, Tensor, TensorData};

use crate::named::{named_enum, serde_by_name};
use crate::rng::torch_cpu::TorchCpu;
use crate::rng::torch_cuda::TorchCuda;
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

/// All random numbers of a run, in the order in which diffusers' pipelines draw them.
pub trait PictureNoise: Noise {
    /// The unit noise x_T that the pictures start from, `[B, C, H, W]` with `shape` = `[C, H, W]`.
    ///
    /// # Errors
    /// Where the source has none of that shape.
    fn initial(&mut self, shape: [usize; 3], device: &Device) -> Result<Tensor<4>>;

    /// Noise for a sample of the autoencoder's posterior, of the same shape; `None` for the posterior's mean.
    ///
    /// # Errors
    /// As [`PictureNoise::initial`].
    fn posterior(&mut self, shape: [usize; 3], device: &Device) -> Result<Option<Tensor<4>>>;
}

named_enum! {
    /// Which generator a seed is for.
    #[derive(Default)]
    pub enum Generator: "rng" {
        /// Ours: counter-based, one stream for each picture and purpose.
        #[default]
        Philox = "philox",
        /// PyTorch's on the CPU. Picture i of a seed is the first picture of seed + i, and the numbers are
        /// drawn in the order in which diffusers draws them.
        TorchCpu = "torch-cpu",
        /// PyTorch's on CUDA, likewise.
        TorchCuda = "torch-cuda",
    }
}

serde_by_name!(Generator);

/// The random numbers of one picture.
#[derive(Debug, Clone)]
enum Stream {
    /// Purposes are apart: what is drawn for one does not move the others.
    Philox {
        seed: u64,
        index: u64,
        steps: Philox,
    },
    /// One sequence for everything.
    TorchCpu(Box<TorchCpu>),
    TorchCuda(TorchCuda),
}

impl Stream {
    fn new(generator: Generator, seed: u64, index: u64) -> Self {
        let own_seed = seed.wrapping_add(index);
        match generator {
            Generator::Philox => {
                Self::Philox { seed, index, steps: Philox::new(seed, Purpose::SamplerNoise, index) }
            }
            Generator::TorchCpu => Self::TorchCpu(Box::new(TorchCpu::new(own_seed))),
            Generator::TorchCuda => Self::TorchCuda(TorchCuda::new(own_seed)),
        }
    }

    /// Numbers of a purpose that is asked for once.
    fn once(&mut self, purpose: Purpose, n: usize) -> Vec<f32> {
        match self {
            Self::Philox { seed, index, .. } => Philox::new(*seed, purpose, *index).normals(n),
            _ => self.next(n),
        }
    }

    fn next(&mut self, n: usize) -> Vec<f32> {
        match self {
            Self::Philox { steps, .. } => steps.normals(n),
            Self::TorchCpu(torch) => torch.normals(n),
            Self::TorchCuda(torch) => torch.normals(n),
        }
    }
}

/// The random numbers of a batch: one stream for each picture.
#[derive(Debug, Clone)]
pub struct NoiseSource {
    streams: Vec<Stream>,
    /// Takes the place of the first draw.
    start: Option<Tensor<4>>,
}

impl NoiseSource {
    /// Streams of the pictures `image_indices` of `seed`.
    pub fn new(generator: Generator, seed: u64, image_indices: &[u64]) -> Self {
        let pictures: Vec<(u64, u64)> = image_indices.iter().map(|&index| (seed, index)).collect();
        Self::of_pictures(generator, &pictures)
    }

    /// Streams of pictures that each have a seed and an index of their own: those of requests that were not made
    /// together.
    pub fn of_pictures(generator: Generator, pictures: &[(u64, u64)]) -> Self {
        let streams = pictures.iter().map(|&(seed, index)| Stream::new(generator, seed, index)).collect();
        Self { streams, start: None }
    }

    /// The same, but the pictures start from `start`, `[B, C, H, W]`, where it is given.
    pub fn starting_from(self, start: Option<Tensor<4>>) -> Self {
        Self { start, ..self }
    }

    fn each(
        &mut self,
        [channels, height, width]: [usize; 3],
        draw: impl Fn(&mut Stream, usize) -> Vec<f32>,
    ) -> TensorData {
        let normals: Vec<f32> =
            self.streams.iter_mut().flat_map(|stream| draw(stream, channels * height * width)).collect();
        TensorData::new(normals, [self.streams.len(), channels, height, width])
    }
}

impl PictureNoise for NoiseSource {
    fn initial(&mut self, shape: [usize; 3], device: &Device) -> Result<Tensor<4>> {
        let Some(start) = self.start.take() else {
            let draw = |stream: &mut Stream, n| stream.once(Purpose::InitialLatent, n);
            return Ok(Tensor::from_data(self.each(shape, draw), device));
        };
        let expected = [self.streams.len(), shape[0], shape[1], shape[2]];
        if start.dims() == expected {
            Ok(start)
        } else {
            Err(Error::shape("initial latents", format!("{expected:?}"), format!("{:?}", start.dims())))
        }
    }

    /// Our own generator has none: the mean is as good, and the same for every seed.
    fn posterior(&mut self, shape: [usize; 3], device: &Device) -> Result<Option<Tensor<4>>> {
        if self.streams.iter().any(|stream| matches!(stream, Stream::Philox { .. })) {
            return Ok(None);
        }
        Ok(Some(Tensor::from_data(self.each(shape, Stream::next), device)))
    }
}

impl Noise for NoiseSource {
    fn draw(&mut self, x: &Tensor<4>) -> Result<Tensor<4>> {
        let [batch, channels, height, width] = x.dims();
        if batch != self.streams.len() {
            return Err(Error::shape("sampler noise", format!("{} pictures", self.streams.len()), batch));
        }
        let data = self.each([channels, height, width], Stream::next);
        Ok(Tensor::from_data(data, (&x.device(), x.dtype())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_refuses, values};

    #[test]
    fn a_picture_does_not_depend_on_its_batch() {
        let device = Device::flex();
        let shape = [3, 2, 5];
        for generator in Generator::ALL {
            let start = |seed, indices: &[u64]| {
                NoiseSource::new(generator, seed, indices).initial(shape, &device).unwrap()
            };
            let together = start(11, &[4, 0, 9]);
            for (i, index) in [4, 0, 9].into_iter().enumerate() {
                let alone = start(11, &[index]);
                assert_eq!(values(together.clone().narrow(0, i, 1)), values(alone.clone()));
                assert_ne!(values(start(12, &[index])), values(alone));
            }

            let mixed = [(12, 4), (11, 9)];
            let of_two_seeds = NoiseSource::of_pictures(generator, &mixed).initial(shape, &device).unwrap();
            assert_eq!(values(of_two_seeds.clone().narrow(0, 0, 1)), values(start(12, &[4])));
            assert_eq!(values(of_two_seeds.narrow(0, 1, 1)), values(start(11, &[9])));

            let mut batch = NoiseSource::new(generator, 11, &[4, 0, 9]);
            let mut alone = NoiseSource::new(generator, 11, &[9]);
            batch.initial(shape, &device).unwrap();
            alone.initial(shape, &device).unwrap();
            let mut seen: Vec<Vec<f64>> = vec![values(together.clone().narrow(0, 2, 1))];
            for _ in 0..3 {
                let picture = values(batch.draw(&together).unwrap().narrow(0, 2, 1));
                assert_eq!(picture, values(alone.draw(&together.clone().narrow(0, 2, 1)).unwrap()));
                assert!(!seen.contains(&picture), "every draw is new");
                seen.push(picture);
            }
            assert_refuses(
                batch.draw(&together.narrow(0, 0, 2)),
                "sampler noise: expected 3 pictures, got 2",
            );
        }
    }
}
