//! What `demo` measures, all of it on compositions that training never saw.

use std::sync::atomic::{AtomicUsize, Ordering};

use calotype::Result;
use calotype::checkpoint::diffusers_folder::load_clip;
use calotype::data::emoji_scenes::{EmojiScenes, Scene, SceneSpec, Split};
use calotype::data::tensors::{to_images, to_tensor};
use calotype::diffusion::guidance::Guidance;
use calotype::evaluate::clip_features;
use calotype::evaluate::pixel::{psnr_rgb, ssim_rgb};
use calotype::evaluate::prompt_accuracy::{Proportion, sign_test};
use calotype::evaluate::retrieval::retrieval_at_1;
use calotype::evaluate::scene_checker::{SceneChecker, Verdict};
use calotype::explain::heat_map::Baseline;
use calotype::explain::localisation::{Hit, Localisation, Region};
use calotype::explain::{Explanation, explain};
use calotype::parallel::in_parallel;
use calotype::pipeline::TextToImage;
use calotype::pipeline::text_to_image::{Request, Sampling, Sizes};
use calotype::progress::Progress;
use calotype::runs::folder::RunFolder;
use calotype::sampler::{Generator, SamplerSettings};
use calotype::trainer::Recipe;
use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::stop_if_interrupted;
use crate::evaluate::{ClipMetrics, clip_metrics, noun_classes};
use crate::options::Context;

/// Pictures sampled at a time; they do not depend on it.
const BATCH: usize = 16;
/// Candidates of a retrieval.
const CANDIDATES: usize = 64;
/// Pictures with a found object that the heat maps are measured on, at least.
const LOCALISED_PICTURES: usize = 100;
/// Give up looking for them after this many times the recipe's scenes.
const MOST_ROUNDS: usize = 4;

/// Everything that was measured, and the pictures to show.
pub struct Evaluation {
    pub scenes: Vec<Scene>,
    pub reconstructions: Vec<RgbImage>,
    pub explanations: Vec<Explanation>,
    pub verdicts: Vec<Verdict>,
    pub sampling: Sampling,
    pub guidance: f64,
    pub psnr: f64,
    pub ssim: f64,
    pub retrieval: f64,
    pub retrieval_chance: f64,
    pub accuracy: Accuracy,
    pub p_value_above_chance: f64,
    pub p_value_above_unconditional: f64,
    pub nouns: Accuracy,
    pub generated: ClipMetrics,
    pub unconditional_clip: ClipMetrics,
    pub localisation: Localisation,
    pub localised_pictures: usize,
}

/// One kind of accuracy on the model and on its controls.
pub struct Accuracy {
    /// Pictures of the model, checked against their own prompts.
    pub model: Proportion,
    /// Pictures sampled with the empty prompt.
    pub unconditional: Proportion,
    /// Pictures of the model, checked against another prompt.
    pub chance: Proportion,
    /// Rendered scenes: what the checker can read at best.
    pub ground_truth: Proportion,
    /// Rendered scenes after the autoencoder's round trip.
    pub reconstruction: Proportion,
}

pub fn evaluate(
    recipe: &Recipe,
    data: &EmojiScenes,
    run: &RunFolder,
    context: &Context,
) -> Result<Evaluation> {
    let model = TextToImage::load(&run.model(), &context.device)?;
    let asked = recipe.evaluation()?;
    let n = asked.scenes;
    let scenes: Vec<Scene> = (0..n as u64).map(|i| data.scene(Split::HeldOut, i)).collect();
    let truth: Vec<RgbImage> = scenes.iter().map(|scene| scene.image.clone()).collect();
    let specs: Vec<SceneSpec> = scenes.iter().map(|scene| scene.spec.clone()).collect();
    let sampling = Sampling {
        sampler: SamplerSettings::new(asked.sampler, asked.steps),
        seed: asked.seed,
        width: model.default_size(),
        height: model.default_size(),
        generator: Generator::default(),
        sizes: Sizes::default(),
    };
    let guidance = asked.guidance;

    let reconstructions = reconstruct(&model, &truth)?;
    let pairs = || truth.iter().zip(&reconstructions);
    let psnr = mean(pairs().map(|(x, y)| psnr_rgb(x, y)))?;
    let ssim = mean(pairs().map(|(x, y)| ssim_rgb(x, y)))?;
    let (retrieval, retrieval_chance) = retrieval(&model, run, &scenes, context)?;

    let prompts: Vec<&str> = scenes.iter().map(|scene| scene.caption.as_str()).collect();
    let explanations = sample("pictures", &model, &prompts, guidance, &sampling, context)?;
    let empty = vec![""; n];
    let unconditional: Vec<RgbImage> = sample("unconditional", &model, &empty, 1.0, &sampling, context)?
        .into_iter()
        .map(|e| e.image)
        .collect();
    let generated: Vec<RgbImage> = explanations.iter().map(|e| e.image.clone()).collect();

    let checker = SceneChecker::new(recipe.data.size)?;
    let mut others = specs.clone();
    others.rotate_left(1);
    let verdicts = check(&checker, &generated, &specs)?;
    let by_kind = [
        verdicts.clone(),
        check(&checker, &unconditional, &specs)?,
        check(&checker, &generated, &others)?,
        check(&checker, &truth, &specs)?,
        check(&checker, &reconstructions, &specs)?,
    ];
    let accuracy = accuracy(&by_kind, |verdict| (usize::from(verdict.correct), 1))?;
    let nouns = self::accuracy(&by_kind, |verdict| {
        (verdict.nouns_found.iter().filter(|&&found| found).count(), verdict.nouns_found.len())
    })?;

    let classes = noun_classes();
    let clip = |images: &[RgbImage]| clip_metrics(&run.model(), images, &truth, &classes, context);
    let (generated, unconditional_clip) = (clip(&generated)?, clip(&unconditional)?);
    let (localisation, localised_pictures) =
        localise(&model, data, &checker, (&scenes, &explanations, &verdicts), guidance, &sampling, context)?;
    Ok(Evaluation {
        scenes,
        reconstructions,
        explanations,
        verdicts,
        sampling,
        guidance,
        psnr,
        ssim,
        retrieval,
        retrieval_chance,
        accuracy,
        p_value_above_chance: p_value(&by_kind[0], &by_kind[2]),
        p_value_above_unconditional: p_value(&by_kind[0], &by_kind[1]),
        nouns,
        generated,
        unconditional_clip,
        localisation,
        localised_pictures,
    })
}

fn reconstruct(model: &TextToImage, images: &[RgbImage]) -> Result<Vec<RgbImage>> {
    let batches = images.chunks(BATCH).map(|batch| {
        let latents = model.vae.encode(to_tensor(batch, model.device())?, None)?;
        to_images(model.vae.decode(latents))
    });
    Ok(batches.collect::<Result<Vec<_>>>()?.concat())
}

/// Mean retrieval@1 of both directions over groups of [`CANDIDATES`] scenes (fewer if there are
/// fewer scenes), and its chance.
fn retrieval(
    model: &TextToImage,
    run: &RunFolder,
    scenes: &[Scene],
    context: &Context,
) -> Result<(f64, f64)> {
    let clip = load_clip(&run.model().join("clip"), &context.device)?.network;
    let candidates = CANDIDATES.min(scenes.len());
    let groups: Vec<&[Scene]> = scenes.chunks_exact(candidates).collect();
    let (mut found, mut chance) = (0.0, 0.0);
    for group in &groups {
        let images: Vec<RgbImage> = group.iter().map(|scene| scene.image.clone()).collect();
        let captions: Vec<String> = group.iter().map(|scene| scene.caption.clone()).collect();
        let image = clip_features::of_images(&clip, &images, &context.device)?;
        let text = clip_features::of_texts(&clip, model.tokenizer(), &captions)?;
        let result =
            retrieval_at_1(&image.rows, &text.rows, image.dimension, |i, j| captions[i] == captions[j])?;
        found += (result.image_to_text + result.text_to_image) / 2.0;
        chance += result.chance;
    }
    Ok((found / groups.len() as f64, chance / groups.len() as f64))
}

fn sample(
    name: &str,
    model: &TextToImage,
    prompts: &[&str],
    guidance: f64,
    sampling: &Sampling,
    context: &Context,
) -> Result<Vec<Explanation>> {
    let requests: Vec<Request> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Request::new(prompt, Guidance::new(guidance), i as u64))
        .collect();
    context.bars.begin(name, 0, requests.len());
    let done = AtomicUsize::new(0);
    let batches: Vec<&[Request]> = requests.chunks(BATCH).collect();
    let explanations = in_parallel(batches, context.threads, |batch| {
        let explanations = explain(model, batch, sampling, None, Baseline::WordMean)?;
        context.bars.step(done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len(), "");
        stop_if_interrupted(&context.bars)?;
        Ok(explanations)
    })?;
    context.bars.end(name);
    Ok(explanations.into_iter().flatten().collect())
}

fn check(checker: &SceneChecker, images: &[RgbImage], specs: &[SceneSpec]) -> Result<Vec<Verdict>> {
    images.par_iter().zip(specs).map(|(image, spec)| checker.check(image, spec)).collect()
}

/// How likely pure chance puts `model` as far above `control`, prompt by prompt.
fn p_value(model: &[Verdict], control: &[Verdict]) -> f64 {
    let pairs = || model.iter().zip(control).map(|(model, control)| (model.correct, control.correct));
    let wins = pairs().filter(|&(model, control)| model && !control).count();
    let losses = pairs().filter(|&(model, control)| control && !model).count();
    sign_test(wins, losses)
}

fn accuracy(kinds: &[Vec<Verdict>; 5], count: impl Fn(&Verdict) -> (usize, usize)) -> Result<Accuracy> {
    let proportion = |verdicts: &Vec<Verdict>| {
        let (hits, n) = verdicts.iter().map(&count).fold((0, 0), |(h, n), (hits, of)| (h + hits, n + of));
        Proportion::new(hits, n)
    };
    Ok(Accuracy {
        model: proportion(&kinds[0])?,
        unconditional: proportion(&kinds[1])?,
        chance: proportion(&kinds[2])?,
        ground_truth: proportion(&kinds[3])?,
        reconstruction: proportion(&kinds[4])?,
    })
}

/// How much of a noun's heat map lies in the box that the checker found it in, over at least
/// [`LOCALISED_PICTURES`] pictures with such a box if enough can be made.
fn localise(
    model: &TextToImage,
    data: &EmojiScenes,
    checker: &SceneChecker,
    (scenes, explanations, verdicts): (&[Scene], &[Explanation], &[Verdict]),
    guidance: f64,
    sampling: &Sampling,
    context: &Context,
) -> Result<(Localisation, usize)> {
    let mut hits = Vec::new();
    let mut pictures = 0;
    let mut count = |scene: &Scene, explanation: &Explanation, verdict: &Verdict| -> Result<usize> {
        let found = found_words(scene, explanation, verdict)?;
        pictures += usize::from(!found.is_empty());
        hits.extend(found);
        Ok(pictures)
    };
    let mut enough = 0;
    for ((scene, explanation), verdict) in scenes.iter().zip(explanations).zip(verdicts) {
        enough = count(scene, explanation, verdict)?;
    }
    for round in 1..MOST_ROUNDS {
        if enough >= LOCALISED_PICTURES {
            break;
        }
        let first = (round * scenes.len()) as u64;
        let more: Vec<Scene> =
            (first..first + scenes.len() as u64).map(|i| data.scene(Split::HeldOut, i)).collect();
        let prompts: Vec<&str> = more.iter().map(|scene| scene.caption.as_str()).collect();
        let explained = sample("more for heat maps", model, &prompts, guidance, sampling, context)?;
        for (scene, explanation) in more.iter().zip(&explained) {
            enough = count(scene, explanation, &checker.check(&explanation.image, &scene.spec)?)?;
        }
    }
    Ok((Localisation::of(&hits)?, pictures))
}

fn found_words(scene: &Scene, explanation: &Explanation, verdict: &Verdict) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for ((noun, _), rect) in scene.spec.objects.iter().zip(&verdict.boxes) {
        let map = explanation.maps.iter().find(|map| map.word == noun.name());
        if let (Some(map), Some(rect)) = (map, rect) {
            let region = Region { x: rect.x, y: rect.y, width: rect.width, height: rect.height };
            hits.push(Hit::of(map, region)?);
        }
    }
    Ok(hits)
}

fn mean(values: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let values = values.collect::<Result<Vec<f64>>>()?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

impl Evaluation {
    /// `metrics.json`.
    pub fn metrics(&self, training_seconds: f64, total_seconds: f64) -> Value {
        json!({
            "reconstruction_psnr": self.psnr,
            "reconstruction_ssim": self.ssim,
            "clip_retrieval_at_1": self.retrieval,
            "clip_retrieval_chance": self.retrieval_chance,
            "prompt_accuracy": self.accuracy.model.rate(),
            "prompt_accuracy_unconditional": self.accuracy.unconditional.rate(),
            "prompt_accuracy_chance": self.accuracy.chance.rate(),
            "prompt_accuracy_ground_truth": self.accuracy.ground_truth.rate(),
            "prompt_accuracy_reconstruction": self.accuracy.reconstruction.rate(),
            "noun_accuracy": self.nouns.model.rate(),
            "noun_accuracy_unconditional": self.nouns.unconditional.rate(),
            "noun_accuracy_chance": self.nouns.chance.rate(),
            "noun_accuracy_ground_truth": self.nouns.ground_truth.rate(),
            "noun_accuracy_reconstruction": self.nouns.reconstruction.rate(),
            "p_value_above_chance": self.p_value_above_chance,
            "p_value_above_unconditional": self.p_value_above_unconditional,
            "fd_clip": self.generated.fd_clip,
            "fd_clip_unconditional": self.unconditional_clip.fd_clip,
            "is_clip": self.generated.is_clip,
            "heat_map_mass_inside": self.localisation.mass_inside.mean,
            "heat_map_area_share": self.localisation.area_share.mean,
            "heat_map_pictures": self.localised_pictures,
            "heat_map_words": self.localisation.n,
            "protocol": {
                "scenes": self.scenes.len(), "split": "held-out compositions", "sampler": self.sampling.sampler.kind.name(),
                "steps": self.sampling.sampler.steps, "guidance": self.guidance, "seed": self.sampling.seed,
                "commit": env!("CALOTYPE_COMMIT"),
            },
            "training_seconds": training_seconds,
            "total_seconds": total_seconds,
        })
    }

    /// Name, value and how it was measured.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let n = self.scenes.len();
        let held_out = format!("{n} held-out scenes");
        let sampled = format!(
            "{n} held-out prompts, {} {} steps, guidance {}, seed {}",
            self.sampling.sampler.kind, self.sampling.sampler.steps, self.guidance, self.sampling.seed
        );
        let clip = "our CLIP's features; not comparable with published FID or IS";
        let row = |name: &str, value: String, how: &str| [name.to_owned(), value, how.to_owned()];
        let accuracy = |what: &str, accuracy: &Accuracy| {
            vec![
                row(what, accuracy.model.to_string(), &sampled),
                row(
                    "· empty prompt",
                    accuracy.unconditional.to_string(),
                    "control: sampled without a prompt",
                ),
                row("· other prompt", accuracy.chance.to_string(), "control: checked against another prompt"),
                row(
                    "· rendered scenes",
                    accuracy.ground_truth.to_string(),
                    "calibration: what the checker reads",
                ),
                row("· reconstructions", accuracy.reconstruction.to_string(), "calibration: after the VAE"),
            ]
        };
        let mut rows = vec![
            row("Reconstruction PSNR", format!("{:.2} dB", self.psnr), &held_out),
            row("Reconstruction SSIM", format!("{:.4}", self.ssim), &held_out),
            row(
                "CLIP retrieval at 1",
                format!("{:.1} % (chance {:.1} %)", 100.0 * self.retrieval, 100.0 * self.retrieval_chance),
                &format!("{} candidates, both directions, held-out scenes", CANDIDATES.min(n)),
            ),
        ];
        rows.extend(accuracy("Prompt accuracy (all nouns and the relation)", &self.accuracy));
        rows.extend(accuracy("Noun accuracy", &self.nouns));
        let (inside, share) = (&self.localisation.mass_inside, &self.localisation.area_share);
        let pictures = format!(
            "{} words in {} pictures, boxes by the checker",
            self.localisation.n, self.localised_pictures
        );
        rows.extend([
            row("fd-clip", format!("{:.4}", self.generated.fd_clip), &format!("{sampled}; {clip}")),
            row("fd-clip, empty prompt", format!("{:.4}", self.unconditional_clip.fd_clip), clip),
            row("is-clip", format!("{:.2}", self.generated.is_clip), &format!("40 nouns, 1 split; {clip}")),
            row(
                "Heat map's mass inside the object's box",
                format!(
                    "{:.1} % of the mass on {:.1} % of the area",
                    100.0 * inside.mean,
                    100.0 * share.mean
                ),
                &pictures,
            ),
        ]);
        rows
    }

    /// The table on stdout.
    pub fn print(&self) {
        for [name, value, how] in self.rows() {
            println!("{name:<46} {value:<46} {how}");
        }
    }
}
