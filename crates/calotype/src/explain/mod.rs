//! Which word lit which pixel; and what becomes of a picture when a word is another.

pub mod accumulator;
mod animation;
mod bilinear;
pub mod capture;
pub mod files;
pub mod heat_map;
pub mod localisation;
pub mod mask;
pub mod overlay;
pub mod prompt_to_prompt;
pub mod selection;
pub mod steps;

use std::ops::{ControlFlow, Range};

use burn::tensor::Tensor;
use image::RgbImage;

use crate::data::tensors::to_images;
use crate::error::Result;
use crate::model::Model;
use crate::nn::AttentionHook;
use crate::pipeline::given_picture::Asked;
use crate::pipeline::script::{Script, Texts};
use crate::pipeline::text_to_image::{OnStep, PictureRequest, Sampling};
use crate::text_encoder::reading::Reading;
use crate::text_encoder::schedule::place;
use capture::{Captured, CrossAttentionCapture};
use heat_map::{Baseline, WordHeatMap, word_heat_maps};
use selection::{KnownLayer, LayerSize, Selection};
use steps::StepAttention;

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
    /// For each of the maps its attention step by step; nothing unless [`Options::keeps_steps`].
    pub steps: Vec<Vec<StepAttention>>,
    /// Height and width of the latent, on whose grid the steps' attention is.
    pub grid: [usize; 2],
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

/// How a picture is explained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What a word's map is measured against.
    pub baseline: Baseline,
    /// Which layers, heads and steps are averaged.
    pub selection: Selection,
    /// Whether each step's attention is kept too: a map of the latent's size for each word and step.
    pub keeps_steps: bool,
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
    let options = Options { baseline, ..Options::default() };
    explain_selected(model, requests, sampling, initial, &options, on_step)
}

/// [`explain`] by some of the layers, heads and steps alone; `on_step` hears of every step.
///
/// # Errors
/// As [`Model::sample_from`]; `Error::Argument` for layers, heads or steps that there are not.
pub fn explain_selected(
    model: &Model,
    requests: &[PictureRequest],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    options: &Options,
    on_step: &mut OnStep,
) -> Result<Vec<Explanation>> {
    let watched = Watched::new(model, requests, sampling, options)?;
    let mut after = |done: usize, steps: usize| {
        watched.begin_step(done);
        on_step(done, steps)
    };
    let latents = model.sample(requests, sampling, initial, Some(watched.hook()), &mut after)?;
    let images = model.decode(latents, false)?;
    watched.explanations(images, sampling, options)
}

/// Explains given pictures: nothing is sampled. Noise is added to their latents at as many timesteps as `sampling` has
/// steps ([`Model::noise_timesteps`]), and the network is asked once at each for the picture's prompt; steps that are not
/// chosen are left out. A sampler and guidance have no part in it.
///
/// - `pictures`: `[B, 3, H, W]` in [−1, 1], of the size that `sampling` says, one for each request.
/// - `initial`: the unit noise, the same at every timestep; the seed's where there is none.
///
/// # Errors
/// As [`Model::ask_about`]; `Error::Argument` for layers, heads or steps that there are not.
pub fn explain_pictures(
    model: &Model,
    pictures: &Tensor<4>,
    requests: &[PictureRequest],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    options: &Options,
    on_step: &mut OnStep,
) -> Result<Vec<Explanation>> {
    let watched = Watched::new(model, requests, sampling, options)?;
    let steps = options.selection.steps(sampling.sampler.steps);
    let noise = &mut model.noise(requests, sampling, initial);
    let begin = &mut |step: usize| {
        watched.begin_step(step);
        on_step(step - steps.start, steps.len())
    };
    let asked = Asked { requests, sampling, steps: steps.clone() };
    model.ask_about(pictures, &asked, noise, watched.hook(), begin)?;
    watched.explanations(to_images(pictures.clone())?, sampling, options)
}

/// The texts of a batch, and who watches what is read of them: for a sampling that is somebody else's, who makes the
/// pictures and wants their maps too.
#[derive(Debug)]
pub struct Watched {
    script: Script,
    readings: Vec<Reading>,
    /// (picture, text), in the order of their first steps.
    shown: Vec<(usize, usize)>,
    /// Which of them each sample has at each step.
    rows: Vec<Vec<usize>>,
    capture: CrossAttentionCapture,
    /// Height and width of the latent.
    grid: [usize; 2],
}

impl Watched {
    /// Of the requests of a batch.
    ///
    /// # Errors
    /// `Error::Argument` for layers, heads or steps that there are not, or prompts that cannot be read.
    pub fn new(
        model: &Model,
        requests: &[PictureRequest],
        sampling: &Sampling,
        options: &Options,
    ) -> Result<Self> {
        let [_, h, w] = model.latent_shape(sampling.width, sampling.height)?;
        options.selection.require(&known_layers(model, h, w), sampling.sampler.steps)?;
        let script = Script::of_prompts(requests, sampling)?;
        let read = |texts: &Texts| model.text.read(texts.of_encoders(), sampling.prompts);
        let readings = script.texts.iter().map(read).collect::<Result<Vec<Reading>>>()?;
        // The texts of a batch are filled up to the longest.
        let tokens = readings.iter().map(Reading::rows).max().unwrap_or(0);
        let (shown, rows) = shown(&script);
        let mut capture = CrossAttentionCapture::new(rows.clone(), h, w, tokens).of(&options.selection);
        if options.keeps_steps {
            let words = shown.iter().map(|&(_, text)| readings[text].words.clone());
            capture = capture.step_by_step(words.collect());
        }
        Ok(Self { script, readings, shown, rows, capture, grid: [h, w] })
    }

    /// What the network is to be given.
    pub fn hook(&self) -> &dyn AttentionHook {
        &self.capture
    }

    /// What is seen from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.capture.begin_step(step);
    }

    /// What was seen of these pictures, those of the batch.
    ///
    /// # Errors
    /// `Error::Shape` or `Error::Argument` if what was captured does not fit.
    pub fn explanations(
        self,
        images: Vec<RgbImage>,
        sampling: &Sampling,
        options: &Options,
    ) -> Result<Vec<Explanation>> {
        let Self { script, readings, shown, rows, capture, grid } = self;
        let Captured { accumulators, steps: by_step } = capture.finish()?;
        let mut by_step = by_step.into_iter();
        let chosen = options.selection.steps(sampling.sampler.steps);
        let nothing = |image| Explanation { image, maps: vec![], texts: vec![], steps: vec![], grid };
        let mut explanations: Vec<Explanation> = images.into_iter().map(nothing).collect();
        for (number, ((picture, text), accumulator)) in shown.into_iter().zip(&accumulators).enumerate() {
            let of_words = by_step.next().unwrap_or_default();
            let at = |step: &usize| rows[(*step).min(rows.len() - 1)].contains(&number);
            let steps: Vec<usize> = chosen.clone().filter(at).collect();
            if steps.is_empty() {
                continue; // Not among those that are averaged.
            }
            let words = &readings[text].words;
            let baseline = options.baseline.among(words.len());
            let maps = word_heat_maps(accumulator, words, sampling.height, sampling.width, baseline)?;
            let explanation = &mut explanations[picture];
            let all = explanation.maps.len();
            let text = script.texts[text].first.trim().to_owned();
            explanation.texts.push(ExplainedText { text, steps, maps: all..all + maps.len() });
            explanation.maps.extend(maps);
            explanation.steps.extend(of_words);
        }
        Ok(explanations)
    }
}

/// What there is to choose among, for latents of `height` × `width`.
fn known_layers(model: &Model, height: usize, width: usize) -> Vec<KnownLayer> {
    let config = &model.denoiser.config;
    let sizes = config.cross_attention_sizes(height, width).into_iter();
    let layer = |((height, width), heads): ((usize, usize), usize)| KnownLayer {
        size: LayerSize { width, height },
        heads,
    };
    sizes.zip(config.cross_attention_heads()).map(layer).collect()
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
