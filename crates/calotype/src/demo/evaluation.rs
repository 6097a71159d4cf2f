//! What `demo` measures, on pairs of nouns that training never shows together unless it says otherwise.

use std::path::Path;

use image::RgbImage;

use super::accuracy::{Accuracy, Checked, SeenPairs, Verdicts};
use super::clip_metrics::ClipMetrics;
use super::heat_maps::localise;
use super::measure::{Measure, measure};
use super::subject::{MeanRetrieval, Subject};
use crate::data::emoji_scenes::{EmojiScenes, Scene, SceneSpec, Split, noun_phrases};
use crate::error::Result;
use crate::evaluate::extractor::ClipExtractor;
use crate::evaluate::pixel::{psnr_rgb, ssim_rgb};
use crate::evaluate::prompt_accuracy::Proportion;
use crate::evaluate::scene_checker::{SceneChecker, Verdict};
use crate::explain::Explanation;
use crate::explain::localisation::Localisation;
use crate::pipeline::text_to_image::Sampling;
use crate::trainer::Recipe;
use crate::trainer::Session;

/// Everything that was measured, and the pictures to show.
pub struct Evaluation {
    /// The held-out scenes whose captions are the prompts.
    pub scenes: Vec<Scene>,
    /// Their pictures after the autoencoder's round trip.
    pub reconstructions: Vec<RgbImage>,
    /// The model's pictures of the prompts, with their heat maps.
    pub explanations: Vec<Explanation>,
    /// What the checker says of them.
    pub verdicts: Vec<Verdict>,
    /// How they were sampled.
    pub sampling: Sampling,
    /// Their guidance scale.
    pub guidance: f64,
    /// Mean PSNR of the reconstructions in dB.
    pub psnr: Measure<f64>,
    /// Mean SSIM of the reconstructions.
    pub ssim: Measure<f64>,
    /// Of the run's CLIP on scenes and captions.
    pub retrieval: Measure<MeanRetrieval>,
    /// Share of pictures with every noun and the relation.
    pub accuracy: Measure<Accuracy>,
    /// How likely pure chance puts the pictures as far above those checked against another prompt.
    pub p_value_above_chance: f64,
    /// How likely pure chance puts the pictures as far above those of the empty prompt.
    pub p_value_above_unconditional: f64,
    /// Share of nouns that are found.
    pub nouns: Measure<Accuracy>,
    /// Share of relations that hold where both nouns are found.
    pub relations: Measure<Proportion>,
    /// The same of pairs of nouns that training has shown, in new scenes.
    pub seen: Measure<SeenPairs>,
    /// The pictures against the scenes.
    pub generated: ClipMetrics,
    /// The pictures of the empty prompt against the scenes.
    pub unconditional_clip: ClipMetrics,
    /// How much of the heat maps lies where the words' objects are.
    pub localisation: Measure<Localisation>,
    /// Pictures that this was measured on.
    pub localised_pictures: usize,
}

/// Measures the model of the session's run as the recipe's `[evaluation]` says. A metric that cannot be computed is
/// missing, with the reason. `judge`: the model folder whose CLIP measures the distance of sets.
///
/// # Errors
/// Those of reading the model and of sampling; `Error::Interrupted`.
pub fn evaluate(recipe: &Recipe, data: &EmojiScenes, judge: &Path, session: Session) -> Result<Evaluation> {
    let subject = Subject::load(recipe, session)?;
    let n = recipe.evaluation()?.scenes;
    let scenes: Vec<Scene> = (0..n as u64).map(|i| data.scene(Split::HeldOut, i)).collect();
    let truth: Vec<RgbImage> = scenes.iter().map(|scene| scene.image.clone()).collect();
    let specs: Vec<SceneSpec> = scenes.iter().map(|scene| scene.spec.clone()).collect();
    let prompts: Vec<&str> = scenes.iter().map(|scene| scene.caption.as_str()).collect();

    let reconstructions = subject.reconstruct(&truth)?;
    let pairs = || truth.iter().zip(&reconstructions);
    let psnr = measure(mean(pairs().map(|(x, y)| psnr_rgb(x, y))))?;
    let ssim = measure(mean(pairs().map(|(x, y)| ssim_rgb(x, y))))?;
    let retrieval = measure(subject.retrieval(&scenes))?;

    let explanations = subject.explain("pictures", &prompts)?;
    let unconditional = subject.sample("unconditional", &vec![""; n], 1.0)?;
    let generated: Vec<RgbImage> = explanations.iter().map(|own| own.image.clone()).collect();

    let checker = SceneChecker::new(recipe.data.size)?;
    let checked = Checked {
        generated: &generated,
        unconditional: &unconditional,
        truth: &truth,
        reconstructions: &reconstructions,
    };
    let verdicts = Verdicts::of(&checker, &specs, &checked)?;
    let seen = measure(seen_pairs(&subject, data, &checker, n))?;
    let clip = measure(ClipExtractor::load(judge, noun_phrases(&data.config().nouns), session.device))?;
    let (localisation, localised_pictures) =
        localise(&subject, data, &checker, (&scenes, &explanations, &verdicts.model))?;
    Ok(Evaluation {
        psnr,
        ssim,
        retrieval,
        accuracy: measure(verdicts.prompts())?,
        p_value_above_chance: verdicts.p_value_above_chance(),
        p_value_above_unconditional: verdicts.p_value_above_unconditional(),
        nouns: measure(verdicts.nouns())?,
        relations: measure(verdicts.relations())?,
        seen,
        generated: ClipMetrics::of(&clip, &generated, &truth)?,
        unconditional_clip: ClipMetrics::of(&clip, &unconditional, &truth)?,
        localisation,
        localised_pictures,
        verdicts: verdicts.model,
        scenes,
        reconstructions,
        explanations,
        sampling: subject.sampling,
        guidance: subject.guidance,
    })
}

/// Pictures of `n` prompts about pairs that training has shown, checked.
fn seen_pairs(subject: &Subject, data: &EmojiScenes, checker: &SceneChecker, n: usize) -> Result<SeenPairs> {
    let scenes: Vec<Scene> = (0..n as u64).map(|i| data.scene(Split::Seen, i)).collect();
    let prompts: Vec<&str> = scenes.iter().map(|scene| scene.caption.as_str()).collect();
    let pictures = subject.sample("pictures of seen pairs", &prompts, subject.guidance)?;
    SeenPairs::of(checker, scenes, pictures)
}

fn mean(values: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let values = values.collect::<Result<Vec<f64>>>()?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}
