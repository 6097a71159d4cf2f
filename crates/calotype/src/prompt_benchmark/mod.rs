//! The benchmark of prompts, run: a model's pictures or those of a folder, judged, and the page about them.
//!
//! What is asked and how it is judged is [`evaluate::benchmark`](crate::evaluate::benchmark); this samples the model,
//! which evaluation alone may not.

mod known;
mod report;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

pub use known::Known;
pub use table::COLUMNS;

use crate::data::emoji_scenes::Scene;
use crate::error::{Error, Result};
use crate::evaluate::benchmark::{JudgedPairs, Pairs, PictureFolder, PromptSet, SIZE};
use crate::evaluate::scene_checker::{Reading, SceneChecker};
use crate::files::{atomic, png};
use crate::machine::Machine;
use crate::model::Model;
use crate::pipeline::batches::in_batches;
use crate::pipeline::{Generation, PictureRequest, Request};

/// Where the pictures come from, as the result says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Source {
    /// A model made them.
    Model {
        /// Its folder, file or name.
        model: PathBuf,
        /// Formula of the steps.
        sampler: &'static str,
        /// Steps.
        steps: usize,
        /// Guidance scale.
        guidance: f64,
        /// Seed of the noise; picture i of each kind has noise i.
        seed: u64,
    },
    /// They lay there.
    Pictures {
        /// The folder.
        pictures: PathBuf,
    },
}

/// A result of the benchmark.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was asked.
    pub prompts: PromptSet,
    /// Of whom.
    pub source: Source,
    /// Side of the pictures.
    pub size: u32,
    /// Unseen pairs, then seen ones.
    pub pairs: [JudgedPairs; 2],
}

/// Asks a model. The pictures are the same whatever `batch` (pictures at a time) and the machine's threads are.
///
/// - `request`: the model, and how it is sampled; its prompt, size and initial picture have no part.
/// - `out`: a folder to write the pictures and `prompts.jsonl` to.
///
/// # Errors
/// Those of [`PromptSet::scenes`], [`Request::load`] and [`Request::prepare`]; `Error::Data` for a model whose pictures are
/// no multiple of 32 pixels wide; `Error::Io`; `Error::Stopped`.
pub fn of_model(
    prompts: &PromptSet,
    request: &Request,
    batch: usize,
    out: Option<&Path>,
    machine: Machine,
) -> Result<Outcome> {
    // Refused before the model is read.
    let [unseen, seen] = scenes(prompts)?;
    let model = request.load(machine)?;
    let size = model.default_size() as u32;
    let checker = SceneChecker::new(size).map_err(|_| {
        let what = format!("pictures of `{}`", request.model.as_deref().unwrap_or(Path::new("")).display());
        Error::data(what, SIZE, format!("{size} x {size}"))
    })?;
    let generation = request.prepare(&model, 1)?;
    if let Some(out) = out {
        prompts.write(&PromptSet::file_in(out))?;
    }
    let asked = |pairs: Pairs, scenes: Vec<Scene>| {
        let captions: Vec<&str> = scenes.iter().map(|scene| scene.caption.as_str()).collect();
        let readings = sample(&model, &generation, &checker, pairs, &captions, (batch, out), machine)?;
        JudgedPairs::of(pairs, scenes, readings)
    };
    let Generation { sampling, request: filled, .. } = &generation;
    let source = Source::Model {
        model: filled.model.clone().unwrap_or_default(),
        sampler: sampling.sampler.kind.name(),
        steps: sampling.sampler.steps,
        guidance: filled.guidance.unwrap_or(1.0),
        seed: sampling.seed,
    };
    Ok(Outcome {
        prompts: prompts.clone(),
        source,
        size,
        pairs: [asked(Pairs::Unseen, unseen)?, asked(Pairs::Seen, seen)?],
    })
}

/// Those of unseen pairs, and of seen ones.
fn scenes(prompts: &PromptSet) -> Result<[Vec<Scene>; 2]> {
    Ok([prompts.scenes(Pairs::Unseen)?, prompts.scenes(Pairs::Seen)?])
}

/// Pictures of one kind of prompts, made, read, and written if there is a folder; not kept: they may be large.
fn sample(
    model: &Model,
    generation: &Generation,
    checker: &SceneChecker,
    pairs: Pairs,
    captions: &[&str],
    (batch, out): (usize, Option<&Path>),
    machine: Machine,
) -> Result<Vec<Reading>> {
    let pattern = &generation.pictures[0];
    let request = |(i, caption): (usize, &&str)| PictureRequest {
        prompt: (*caption).to_owned(),
        image_index: i as u64,
        ..pattern.clone()
    };
    let requests: Vec<PictureRequest> = captions.iter().enumerate().map(request).collect();
    in_batches(&format!("pictures of {pairs} pairs"), &requests, batch, machine, |requests| {
        let pictures = model.generate(requests, &generation.sampling)?;
        let one = |(picture, request): (&image::RgbImage, &PictureRequest)| {
            if let Some(out) = out {
                png::write(&out.join(pairs.file(request.image_index as usize)), picture)?;
            }
            checker.read(picture)
        };
        pictures.iter().zip(requests).map(one).collect()
    })
}

/// Judges pictures that lie in a folder: `unseen/00000.png` …, `seen/00000.png` …
///
/// # Errors
/// Those of [`PromptSet::scenes`], [`PictureFolder::open`] and [`PictureFolder::read`].
pub fn of_pictures(prompts: &PromptSet, folder: &Path) -> Result<Outcome> {
    let [unseen, seen] = scenes(prompts)?;
    let pictures = PictureFolder::open(folder, prompts)?;
    let judged = |pairs: Pairs, scenes| JudgedPairs::of(pairs, scenes, pictures.read(pairs, prompts.count)?);
    Ok(Outcome {
        prompts: prompts.clone(),
        source: Source::Pictures { pictures: folder.to_owned() },
        size: pictures.size(),
        pairs: [judged(Pairs::Unseen, unseen)?, judged(Pairs::Seen, seen)?],
    })
}

impl Outcome {
    /// `benchmark.json`. `commit`: of the program.
    ///
    /// # Errors
    /// As [`PromptSet::sha256`].
    pub fn to_json(&self, commit: &str) -> Result<Value> {
        let mut protocol = json!(self.prompts);
        protocol["prompts_sha256"] = json!(self.prompts.sha256()?);
        protocol["size"] = json!(self.size);
        let mut value = json!({
            "benchmark": self.prompts.name(), "protocol": protocol, "source": self.source,
            "version": env!("CARGO_PKG_VERSION"), "commit": commit,
        });
        for judged in &self.pairs {
            value[format!("{}_pairs", judged.pairs)] = json!(judged.accuracy);
            value["other_prompt"][format!("{}_pairs", judged.pairs)] = json!(judged.other_prompt);
            value["rendered_scenes"][format!("{}_pairs", judged.pairs)] = json!(judged.rendered);
        }
        Ok(value)
    }

    /// Writes `benchmark.json` and `report.html` into `out`. `pictures`: the folder where the pictures lie.
    ///
    /// # Errors
    /// `Error::Io`; those of reading the pictures that the page shows.
    pub fn write(&self, out: &Path, pictures: &Path, commit: &str) -> Result<()> {
        atomic::write_json(&out.join("benchmark.json"), &self.to_json(commit)?)?;
        report::write(self, &out.join("report.html"), pictures, commit)
    }
}
