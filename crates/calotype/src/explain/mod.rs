//! Which word lit which pixel.

pub mod capture;
pub mod files;
pub mod heat_map;
pub mod localisation;
pub mod overlay;
pub mod selection;

use std::ops::{ControlFlow, Range};

use burn::tensor::Tensor;
use image::RgbImage;

use crate::error::Result;
use crate::model::Model;
use crate::pipeline::script::{Script, Texts};
use crate::pipeline::text_to_image::{OnStep, PictureRequest, Sampling};
use crate::text_encoder::reading::Reading;
use crate::text_encoder::schedule::place;
use capture::CrossAttentionCapture;
use heat_map::{Baseline, WordHeatMap, word_heat_maps};
use selection::{LayerSize, Selection};

/// A picture and where each word of its prompt went.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The picture.
    pub image: RgbImage,
    /// One map for each word, in the prompt's order; of a prompt that changes, or a sum of prompts, for each word of
    /// each text.
    pub maps: Vec<WordHeatMap>,
    /// The texts, in the order of their first steps: one unless the prompt changes or is a sum.
    pub texts: Vec<ExplainedText>,
}

/// A text that a picture was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedText {
    /// As the prompt spells it, weights included, without space around it.
    pub text: String,
    /// The steps at which it was shown, of those that are averaged, counted from 0.
    pub steps: Vec<usize>,
    /// Its words among the maps.
    pub maps: Range<usize>,
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
    let sizes = model.denoiser.config.cross_attention_sizes(h, w);
    let known: Vec<LayerSize> =
        sizes.into_iter().map(|(height, width)| LayerSize { width, height }).collect();
    selection.require(&known, sampling.sampler.steps)?;
    let script = Script::of_prompts(requests, sampling)?;
    let read = |texts: &Texts| model.text.read(&texts.first, sampling.prompts);
    let readings = script.texts.iter().map(read).collect::<Result<Vec<Reading>>>()?;
    // The texts of a batch are filled up to the longest.
    let tokens = readings.iter().map(Reading::rows).max().unwrap_or(0);
    let (shown, rows) = shown(&script);
    let capture = CrossAttentionCapture::new(rows.clone(), h, w, tokens).of(selection);
    let mut after = |done: usize, steps: usize| {
        capture.begin_step(done);
        on_step(done, steps)
    };
    let latents = model.sample(requests, sampling, initial, Some(&capture), &mut after)?;
    let accumulators = capture.finish()?;
    let images = model.decode(latents, false)?;
    let steps = selection.from..selection.to.unwrap_or(sampling.sampler.steps);
    let mut explanations: Vec<Explanation> =
        images.into_iter().map(|image| Explanation { image, maps: vec![], texts: vec![] }).collect();
    for (number, ((picture, text), accumulator)) in shown.into_iter().zip(&accumulators).enumerate() {
        let at = |step: &usize| rows[(*step).min(rows.len() - 1)].contains(&number);
        let steps: Vec<usize> = steps.clone().filter(at).collect();
        if steps.is_empty() {
            continue; // Not among those that are averaged.
        }
        let words = &readings[text].words;
        // One word cannot be compared with others.
        let baseline = if words.len() < 2 { Baseline::Zero } else { baseline };
        let maps = word_heat_maps(accumulator, words, sampling.height, sampling.width, baseline)?;
        let Explanation { maps: all, texts, .. } = &mut explanations[picture];
        let text = script.texts[text].first.trim().to_owned();
        texts.push(ExplainedText { text, steps, maps: all.len()..all.len() + maps.len() });
        all.extend(maps);
    }
    Ok(explanations)
}

/// Each (picture, text) once, in the order of their first steps; and which of them each sample has at each step.
fn shown(script: &Script) -> (Vec<(usize, usize)>, Vec<Vec<usize>>) {
    let mut shown = Vec::new();
    let rows = (0..script.steps()).map(|step| {
        let texts = script.at(step);
        let pairs = script.rows.iter().map(|row| row.picture).zip(texts);
        pairs.map(|pair| place(&mut shown, pair)).collect()
    });
    let rows = rows.collect();
    (shown, rows)
}
