//! Latents and captions of training pictures, encoded once.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use super::Progress;
use crate::autoencoder::AutoencoderKl;
use crate::data::source::CaptionedPictures;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::parallel::in_parallel;
use crate::rng::{Philox, Purpose};
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Pictures encoded at a time.
const BATCH: usize = 32;

/// The posterior of each picture and its caption's tokens, in memory: 8 bytes for each latent number.
#[derive(Debug, Clone)]
pub struct LatentCache {
    shape: [usize; 3],
    mean: Vec<f32>,
    std: Vec<f32>,
    input_ids: Vec<Vec<u32>>,
    scaling_factor: f32,
}

impl LatentCache {
    /// Encodes pictures 0 to `count` − 1 of `data`.
    ///
    /// # Errors
    /// Those of `data`; `Error::Interrupted`.
    #[expect(clippy::too_many_arguments, reason = "what to encode, with what, how and who watches")]
    pub fn encode(
        network: &AutoencoderKl,
        scaling_factor: f64,
        tokenizer: &ClipTokenizer,
        data: &dyn CaptionedPictures,
        count: usize,
        device: &Device,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut cache = Self {
            shape: [0; 3],
            mean: vec![],
            std: vec![],
            input_ids: vec![],
            scaling_factor: scaling_factor as f32,
        };
        progress.begin("latents", 0, count);
        let batches: Vec<(usize, usize)> =
            (0..count).step_by(BATCH).map(|first| (first, (first + BATCH).min(count))).collect();
        for wave in batches.chunks(threads.max(1)) {
            let encoded = in_parallel(wave.to_vec(), threads, |(first, end)| {
                let pairs =
                    (first..end).map(|i| data.get(i as u64)).collect::<Result<Vec<(RgbImage, String)>>>()?;
                let (images, captions): (Vec<RgbImage>, Vec<String>) = pairs.into_iter().unzip();
                Ok((network.encode(to_tensor(&images, device)?)?, captions))
            })?;
            for (posterior, captions) in encoded {
                let [_, c, h, w] = posterior.mean.dims();
                cache.shape = [c, h, w];
                cache.mean.extend(posterior.mean.into_data().iter::<f32>());
                cache.std.extend((posterior.logvar * 0.5).exp().into_data().iter::<f32>());
                cache.input_ids.extend(captions.iter().map(|caption| tokenizer.encode_padded(caption).ids));
            }
            progress.step(cache.input_ids.len(), "");
            if progress.interrupted() {
                return Err(Error::Interrupted { step: 0 });
            }
        }
        progress.end("latents");
        Ok(cache)
    }

    /// Pictures in the cache.
    #[expect(clippy::len_without_is_empty, reason = "recipes ask for at least one scene")]
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// `[C, h, w]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Scaled latents `[B, C, h, w]`, a fresh sample of each posterior, and the tokens. `items` are
    /// pairs (position in the run, picture).
    pub fn batch(&self, seed: u64, items: &[(u64, usize)], device: &Device) -> (Tensor<4>, Vec<Vec<u32>>) {
        let [c, h, w] = self.shape;
        let numbers = c * h * w;
        let mut values = Vec::with_capacity(items.len() * numbers);
        for &(position, picture) in items {
            let noise = Philox::new(seed, Purpose::Posterior, position).normals(numbers);
            let range = picture * numbers..(picture + 1) * numbers;
            let posterior = self.mean[range.clone()].iter().zip(&self.std[range]);
            values
                .extend(posterior.zip(noise).map(|((mean, std), z)| (mean + std * z) * self.scaling_factor));
        }
        let latents = Tensor::from_data(TensorData::new(values, [items.len(), c, h, w]), device);
        (latents, items.iter().map(|&(_, picture)| self.input_ids[picture].clone()).collect())
    }
}
