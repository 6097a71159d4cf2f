//! Which word lit which pixel.

pub mod capture;
pub mod heat_map;
pub mod localisation;
pub mod overlay;

use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::Result;
use crate::pipeline::TextToImage;
use crate::pipeline::text_to_image::{Request, Sampling};
use capture::CrossAttentionCapture;
use heat_map::{Baseline, WordHeatMap, word_heat_maps};

/// A picture and where each word of its prompt went.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The picture.
    pub image: RgbImage,
    /// One map for each word, in the prompt's order.
    pub maps: Vec<WordHeatMap>,
}

/// Samples the pictures of `requests` and captures the cross-attention on the way.
///
/// - `initial`: unit noise to start from; the seed's where there is none.
///
/// # Errors
/// As [`TextToImage::sample`]. A prompt without words has no maps.
pub fn explain(
    model: &TextToImage,
    requests: &[Request],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    baseline: Baseline,
) -> Result<Vec<Explanation>> {
    let [_, h, w] = model.latent_shape(sampling.width, sampling.height)?;
    let capture = CrossAttentionCapture::new(requests.len(), h, w, model.tokenizer().max_length());
    let latents = model.sample(requests, sampling, initial, Some(&capture), &mut |_, _| ())?;
    let accumulators = capture.finish()?;
    let images = model.decode(latents)?;
    let each = requests.iter().zip(images).zip(&accumulators);
    each.map(|((request, image), accumulator)| {
        let words = model.tokenizer().words(&request.prompt)?;
        // One word cannot be compared with others.
        let baseline = if words.len() < 2 { Baseline::Zero } else { baseline };
        let maps = word_heat_maps(accumulator, &words, sampling.height, sampling.width, baseline)?;
        Ok(Explanation { image, maps })
    })
    .collect()
}
