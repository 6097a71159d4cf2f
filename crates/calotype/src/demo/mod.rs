//! The whole way from embedded data to an evaluated model, and the page about it.
//!
//! Above everything: it trains, samples, explains, measures and reports.

mod accuracy;
mod clip_metrics;
mod evaluation;
mod heat_maps;
mod measure;
mod numbers;
mod report;
mod subject;
#[cfg(test)]
mod tests;

pub use accuracy::{Accuracy, SeenPairs};
pub use clip_metrics::ClipMetrics;
pub use evaluation::{Evaluation, evaluate};
pub use measure::Measure;

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::data::emoji_scenes::EmojiScenes;
use crate::error::{Error, Result};
use crate::files::{atomic, output};
use crate::machine::Machine;
use crate::ranks::Alone;
use crate::runs::folder::{RunFolder, TrainedPart};
use crate::trainer::{Recipe, Session};
use crate::training::train_on_scenes;

/// Recipes in the program, the smallest first; any other name is a file.
const RECIPES: [(&str, &str); 3] = [
    ("smoke", include_str!("../../../../configs/smoke.toml")),
    ("demo", include_str!("../../../../configs/demo.toml")),
    ("full", include_str!("../../../../configs/full.toml")),
];

/// The recipe of this name: `demo`, `full`, `smoke`, or a TOML file.
///
/// # Errors
/// As [`Recipe::read`].
pub fn recipe(name: &str) -> Result<Recipe> {
    match built_in(name) {
        Some(text) => Recipe::parse(Path::new(&format!("{name}.toml")), text),
        None => Recipe::read(Path::new(name)),
    }
}

/// Names of the recipes in the program, the smallest first.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// The text of a recipe in the program: `demo`, `full`, `smoke`.
pub fn built_in(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// What is asked of a demo.
#[derive(Debug, Clone)]
pub struct Demo {
    /// How the parts are trained, and what is measured.
    pub recipe: Recipe,
    /// What the report calls the recipe.
    pub recipe_name: String,
    /// Where: `model/`, `report.html`, `metrics.json`, `samples/`, `heat_maps/`.
    pub run: RunFolder,
    /// Go on with an unfinished run.
    pub resume: bool,
    /// Of the program, for the report.
    pub commit: String,
}

/// What a demo gives.
pub struct Outcome {
    /// Everything that was measured.
    pub evaluation: Evaluation,
    /// `metrics.json`.
    pub metrics: Value,
}

impl Demo {
    /// Trains all parts on the embedded data, measures the model, and writes the report into the run.
    ///
    /// # Errors
    /// `Error::Argument` for a folder with files in it where no run is to be resumed; those of the trainings and of
    /// [`evaluate`]; `Error::Io`.
    pub fn run(&self, machine: Machine) -> Result<Outcome> {
        let started = Instant::now();
        let folder = self.run.path();
        output::require_folder("out", folder)?;
        if !self.resume && folder.is_dir() && !is_empty(folder)? {
            let got = format!("`{}`, which has files in it", folder.display());
            return Err(Error::argument("out", "a new folder, or `resume` to go on with this run", got));
        }
        let scenes = self.recipe.scenes()?;
        TrainedPart::ALL.into_iter().try_for_each(|part| self.recipe.keep_in(&self.run, part))?;
        for part in TrainedPart::ALL {
            train_on_scenes(part, &self.recipe, &scenes, session(&self.run, machine))?;
        }
        self.measure(&scenes, &self.run.model(), started.elapsed().as_secs_f64(), machine)
    }

    /// Measures the model of the run, and writes the report into the run. `judge`: the model folder whose CLIP measures
    /// the distance of sets; `training_seconds`: what the training has taken.
    ///
    /// # Errors
    /// Those of [`evaluate`]; `Error::Io`.
    pub fn measure(
        &self,
        scenes: &EmojiScenes,
        judge: &Path,
        training_seconds: f64,
        machine: Machine,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let evaluation = evaluate(&self.recipe, scenes, judge, session(&self.run, machine))?;
        let total_seconds = training_seconds + started.elapsed().as_secs_f64();
        let metrics = evaluation.metrics(&self.commit, training_seconds, total_seconds);
        report::write(&self.recipe_name, &self.recipe, &self.run, &evaluation, &self.commit)?;
        atomic::write_json(&self.run.path().join("metrics.json"), &metrics)?;
        Ok(Outcome { evaluation, metrics })
    }
}

/// A training of a part of `run` from the beginning, or what looks at the model.
pub(crate) fn session<'a>(run: &'a RunFolder, machine: Machine<'a>) -> Session<'a> {
    Session {
        run,
        threads: machine.threads,
        workers: 1,
        resume: false,
        device: machine.device,
        preflight: true,
        progress: machine.progress,
        ranks: &Alone,
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(folder).map_err(Error::io("read", folder))?.next().is_none())
}
