//! Which word lit which pixel.

pub mod capture;
pub mod files;
pub mod heat_map;
pub mod localisation;
pub mod overlay;
pub mod selection;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::Result;
use crate::model::Model;
use crate::pipeline::text_to_image::{OnStep, PictureRequest, Sampling};
use crate::text_encoder::reading::Reading;
use capture::CrossAttentionCapture;
use heat_map::{Baseline, WordHeatMap, word_heat_maps};
use selection::{LayerSize, Selection};

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
/// As [`Model::sample_from`]. A prompt without words has no maps.
pub fn explain(
    model: &Model,
    requests: &[PictureRequest],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    baseline: Baseline,
) -> Result<Vec<Explanation>> {
    let on_step = &mut |_, _| ControlFlow::Continue(());
    explain_selected(model, requests, sampling, initial, (baseline, &Selection::default()), on_step)
}

/// [`explain`] by some of the layers and steps alone; `on_step` hears of every step.
///
/// # Errors
/// As [`Model::sample_from`]; `Error::Argument` for layers or steps that there are not.
pub fn explain_selected(
    model: &Model,
    requests: &[PictureRequest],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    (baseline, selection): (Baseline, &Selection),
    on_step: &mut OnStep,
) -> Result<Vec<Explanation>> {
    let [_, h, w] = model.latent_shape(sampling.width, sampling.height)?;
    let read = |request: &PictureRequest| model.text.read(&request.prompt, sampling.prompts);
    let readings = requests.iter().map(read).collect::<Result<Vec<Reading>>>()?;
    // The texts of a batch are filled up to the longest.
    let rows = readings.iter().map(Reading::rows).max().unwrap_or(0);
    let sizes = model.denoiser.config.cross_attention_sizes(h, w);
    let known: Vec<LayerSize> =
        sizes.into_iter().map(|(height, width)| LayerSize { width, height }).collect();
    selection.require(&known, sampling.sampler.steps)?;
    let capture = CrossAttentionCapture::new(requests.len(), h, w, rows).of(selection);
    let mut after = |done: usize, steps: usize| {
        capture.begin_step(done);
        on_step(done, steps)
    };
    let latents = model.sample(requests, sampling, initial, Some(&capture), &mut after)?;
    let accumulators = capture.finish()?;
    let images = model.decode(latents, false)?;
    let each = readings.iter().zip(images).zip(&accumulators);
    each.map(|((Reading { words, .. }, image), accumulator)| {
        // One word cannot be compared with others.
        let baseline = if words.len() < 2 { Baseline::Zero } else { baseline };
        let maps = word_heat_maps(accumulator, words, sampling.height, sampling.width, baseline)?;
        Ok(Explanation { image, maps })
    })
    .collect()
}
