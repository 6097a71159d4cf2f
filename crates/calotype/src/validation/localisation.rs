//! Localisation score: do a model's words read where the things are that they name, in true pictures?

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use image::RgbImage;
use image::imageops::{self, FilterType};
use serde::Serialize;

use super::localisation_score::{Score, ScoredMap};
use super::scene_words::{NamedWord, WordClass, named_words};
use crate::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Noun, Scene, Split};
use crate::data::tensors::to_tensor;
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::explain::heat_map::Baseline;
use crate::explain::{Explanation, Options, explain_pictures};
use crate::machine::Machine;
use crate::model::Model;
use crate::pipeline::batches::in_batches;
use crate::pipeline::given_picture::LOOKS;
use crate::pipeline::text_to_image::{PictureRequest, Sampling};
use crate::sampler::{SamplerKind, SamplerSettings};
use crate::text_encoder::reading::PromptOptions;

/// Pictures explained at a time, at most; the score does not depend on it.
const MOST_PICTURES: usize = 16;
/// Pixels of all of them, so that large models fit into memory: 16 pictures of 64 × 64.
const MOST_PIXELS: usize = 16 * 64 * 64;
/// Sides that scenes can have.
const SIDES: [u32; 3] = [32, 64, 128];

/// What the score is measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalisationProtocol {
    /// Number of held-out scenes, from 0 on.
    pub scenes: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// What the scenes are of.
    pub nouns: Vec<Noun>,
}

/// The score of each class of words of held-out scenes, by class; `None` where no caption has such a word.
///
/// Nothing is sampled: each true picture is noised at [`LOOKS`] timesteps ([`explain_pictures`]) and its own caption asked
/// for. Maps are relative to the mean of the caption's words. A model of another size than scenes have sees them enlarged
/// or made smaller.
///
/// # Errors
/// `Error::Argument` for no scenes; those of [`EmojiScenes::new`] and [`explain_pictures`]; `Error::Stopped`.
pub fn localisation(
    model: &Model,
    protocol: &LocalisationProtocol,
    machine: Machine,
) -> Result<BTreeMap<&'static str, Option<Score>>> {
    if protocol.scenes == 0 {
        return Err(Error::argument("scenes", "at least 1", 0));
    }
    let side = model.default_size() as u32;
    let size = SIDES.into_iter().find(|&size| size >= side).unwrap_or(SIDES[2]);
    let config = EmojiScenesConfig { size, nouns: protocol.nouns.clone(), ..EmojiScenesConfig::default() };
    let data = EmojiScenes::new(config)?;
    let numbers: Vec<u64> = (0..protocol.scenes as u64).collect();
    let scored = in_batches("localisation", &numbers, batch_size(side), machine, |numbers| {
        let scenes: Vec<Scene> = numbers.iter().map(|&i| data.scene(Split::HeldOut, i)).collect();
        let own = |scene: &Scene| (resized(&scene.image, side), scene.caption.clone());
        let (pictures, captions): (Vec<_>, Vec<_>) = scenes.iter().map(own).unzip();
        let explanations = explained(model, &pictures, &captions, numbers[0], protocol.seed)?;
        let mut scored = Vec::new();
        for (scene, explanation) in scenes.iter().zip(&explanations) {
            scored.extend(scores(scene, explanation, side)?);
        }
        Ok(scored)
    })?;
    let of = |class: WordClass| {
        let own = scored.iter().filter(|(other, _)| *other == class);
        let maps: Vec<ScoredMap> = own.map(|(_, map)| map.clone()).collect();
        Ok((class.name(), (!maps.is_empty()).then(|| Score::of(&maps)).transpose()?))
    };
    WordClass::ALL.into_iter().map(of).collect()
}

/// How many square pictures are explained at a time.
pub(super) fn batch_size(side: u32) -> usize {
    (MOST_PIXELS / (side as usize).pow(2).max(1)).clamp(1, MOST_PICTURES)
}

/// How captions are read: they are text, and brackets in them no weights.
pub(super) fn as_text() -> PromptOptions {
    PromptOptions { plain: true, ..PromptOptions::default() }
}

/// Square pictures of one size explained by their captions; each has noise of its own, from that of picture `first` on.
///
/// # Errors
/// As [`explain_pictures`].
pub(super) fn explained(
    model: &Model,
    pictures: &[RgbImage],
    captions: &[String],
    first: u64,
    seed: u64,
) -> Result<Vec<Explanation>> {
    let side = pictures.first().map_or(0, RgbImage::width) as usize;
    let request = |(caption, i): (&String, u64)| PictureRequest::new(caption, Guidance::new(1.0), i);
    let requests: Vec<PictureRequest> = captions.iter().zip(first..).map(request).collect();
    // Its steps are the timesteps; its kind has no part in it.
    let settings = SamplerSettings::new(SamplerKind::Ddim, LOOKS);
    let sampling = Sampling { prompts: as_text(), ..Sampling::new(settings, seed, side) };
    let options = Options { baseline: Baseline::WordMean, ..Options::default() };
    let on_step = &mut |_, _| ControlFlow::Continue(());
    let pictures = to_tensor(pictures, &model.device)?;
    explain_pictures(model, &pictures, &requests, &sampling, None, &options, on_step)
}

/// Every word of a scene that names something, as far as the model reads the caption.
fn scores(scene: &Scene, explanation: &Explanation, side: u32) -> Result<Vec<(WordClass, ScoredMap)>> {
    let words: Vec<&str> = scene.caption.split(' ').collect();
    let mut scores = Vec::new();
    for NamedWord { index, class, mask } in named_words(scene, (side, side)) {
        // A caption that is cut off has fewer maps.
        if let Some(map) = explanation.maps.get(index).filter(|map| map.word == words[index]) {
            scores.push((class, ScoredMap::new(map, &mask)?));
        }
    }
    Ok(scores)
}

fn resized(picture: &RgbImage, side: u32) -> RgbImage {
    if picture.dimensions() == (side, side) {
        return picture.clone();
    }
    imageops::resize(picture, side, side, FilterType::Lanczos3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_explained_in_small_batches() {
        assert_eq!([16, 64, 128, 256, 512, 1024].map(batch_size), [16, 16, 4, 1, 1, 1]);
    }
}
