//! A recipe and variants of it, trained and measured side by side: what each loss and each layer is worth.
//!
//! What two variants have in common is trained once. What is measured is what `demo` measures, by the same code; the
//! model of a variant is what `demo` trains by the variant's recipe, bit for bit.

mod file;
mod folder;
mod plan;
mod report;
mod results;
mod table;

pub use file::{BASE, SweepFile, Variant};
pub use folder::SweepFolder;
pub use plan::{Plan, PlannedPart, PlannedRun};
pub use results::{Results, Summary, VariantResults};

use std::time::Instant;

use serde_json::{Value, json};

use crate::data::emoji_scenes::EmojiScenes;
use crate::demo::{self, Demo};
use crate::difference::difference;
use crate::error::{Error, ErrorKind, Result};
use crate::files::atomic;
use crate::machine::Machine;
use crate::runs::folder::TrainedPart;
use crate::training::train_on_scenes;

/// What is asked of a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The file.
    pub file: SweepFile,
    /// Where.
    pub folder: SweepFolder,
    /// Of the program, for the reports.
    pub commit: String,
    plan: Plan,
}

impl Sweep {
    /// The sweep of a file in a folder, which may hold what an earlier call has left.
    ///
    /// # Errors
    /// As [`Plan::new`]; `Error::Argument` for a folder that is no sweep's; `Error::Config` for a variant that was begun
    /// there as something else.
    pub fn new(file: SweepFile, folder: SweepFolder, commit: &str) -> Result<Self> {
        folder.require()?;
        let sweep = Self { plan: Plan::new(&file)?, file, folder, commit: commit.into() };
        sweep.plan.runs.iter().try_for_each(|run| sweep.require_unchanged(run))?;
        Ok(sweep)
    }

    /// What will be trained, and for whom.
    ///
    /// # Errors
    /// As [`Plan::parts`].
    pub fn parts(&self) -> Result<Vec<PlannedPart>> {
        self.plan.parts(&self.folder)
    }

    /// Every model, and whether it is measured.
    pub fn runs(&self) -> Vec<Value> {
        let run = |run: &PlannedRun| {
            let parts: serde_json::Map<String, Value> = TrainedPart::ALL
                .into_iter()
                .map(|part| (part.name().into(), run.part(part).into()))
                .collect();
            json!({
                "variant": run.variant, "seed": run.recipe.seed, "parts": parts,
                "run": self.folder.run(run).path(), "measured": self.folder.metrics(run).is_file(),
            })
        };
        self.plan.runs.iter().map(run).collect()
    }

    /// A name means what it meant when its work began.
    fn require_unchanged(&self, run: &PlannedRun) -> Result<()> {
        let path = self.folder.settings(run);
        if !path.is_file() {
            return Ok(());
        }
        let began: Value = atomic::read_json(&path)?;
        if began == run.settings {
            return Ok(());
        }
        let (key, expected, got) = difference(&began, &run.settings);
        let key = key.trim_start_matches('.').to_owned();
        let expected = format!("{expected}, as `{}` of this sweep began", run.variant);
        let got = format!("{got}; give the variant another name, or the sweep another `out`");
        Err(Error::config(run.recipe.path(), key, expected, got))
    }

    /// Trains and measures what is not there yet, and writes the tables and the report after each model. A call that was
    /// stopped or killed is made again to go on.
    ///
    /// # Errors
    /// Those of the trainings and of the measuring, but for a variant whose numbers become NaN or infinite: that is its
    /// result. `Error::Io`.
    pub fn run(&self, machine: Machine) -> Result<Results> {
        let _claim = self.folder.claim()?;
        let asked = atomic::read(&self.file.path)?;
        atomic::write(&self.folder.asked(), &asked)?;
        for (i, run) in self.plan.runs.iter().enumerate() {
            if self.folder.metrics(run).is_file() {
                continue;
            }
            machine.progress.say(&format!("model {} of {}: {}", i + 1, self.plan.runs.len(), run.name()));
            atomic::write_json(&self.folder.settings(run), &run.settings)?;
            match self.train_and_measure(run, machine) {
                // The others are compared with the base.
                Err(error) if error.kind() == ErrorKind::Diverged && run.variant != BASE => {
                    let diverged = json!({ "diverged": error.to_string() });
                    machine.progress.say(&format!("{}: {error}", run.name()));
                    atomic::write_json(&self.folder.metrics(run), &diverged)?;
                }
                other => other?,
            }
            self.write_results()?;
        }
        self.write_results()
    }

    fn train_and_measure(&self, run: &PlannedRun, machine: Machine) -> Result<()> {
        let scenes = run.recipe.scenes()?;
        TrainedPart::ALL.into_iter().try_for_each(|part| self.train(run, part, &scenes, machine))?;
        let own = self.folder.run(run);
        self.folder.link_model(run)?;
        TrainedPart::ALL.into_iter().try_for_each(|part| run.recipe.keep_in(&own, part))?;
        let demo = Demo {
            recipe: run.recipe.clone(),
            recipe_name: format!("{} of {}", run.name(), self.file.path.display()),
            run: own,
            resume: true,
            commit: self.commit.clone(),
        };
        // One CLIP for all, so that the distances of variants with other CLIPs compare.
        let judge = self.folder.run(self.plan.base_of(run)).model();
        demo.measure(&scenes, &judge, self.folder.training_seconds(run)?, machine).map(|_| ())
    }

    /// Trains a part, unless that is done.
    fn train(
        &self,
        run: &PlannedRun,
        part: TrainedPart,
        scenes: &EmojiScenes,
        machine: Machine,
    ) -> Result<()> {
        let (name, own) = (run.part(part), self.folder.part(run, part));
        if self.folder.is_trained(name) {
            return Ok(());
        }
        if part == TrainedPart::Diffusion {
            self.folder.link_foundations(run)?;
        }
        run.recipe.keep_in(&own, part)?;
        let started = Instant::now();
        let session = demo::session(&own, machine);
        train_on_scenes(part, &run.recipe, scenes, session)?;
        self.folder.set_trained(name, started.elapsed().as_secs_f64())
    }

    /// Writes what there is so far.
    fn write_results(&self) -> Result<Results> {
        let results = Results::read(&self.plan, &self.folder, &self.commit)?;
        let path = |name: &str| self.folder.path().join(name);
        atomic::write_json(&path("metrics.json"), &results)?;
        atomic::write(&path("table.md"), results.to_markdown().as_bytes())?;
        atomic::write(&path("table.csv"), table::csv(&results).as_bytes())?;
        report::write(&self.file.path, &self.plan, &self.folder, &results)?;
        Ok(results)
    }
}
