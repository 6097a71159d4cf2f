//! What a sweep trains: each part once, however many variants stand on it.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::file::SweepFile;
use super::folder::SweepFolder;
use crate::error::{Error, Result};
use crate::files::sha256::hex;
use crate::runs::folder::TrainedPart;
use crate::trainer::{Recipe, settings};

/// Hexadecimal digits of a hash that name a part.
const DIGITS: usize = 12;

/// Every model that a sweep makes: seed by seed, the base first.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the models.
    pub runs: Vec<PlannedRun>,
}

/// A variant with one seed.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Name of the variant.
    pub variant: String,
    /// Heading of the variant's table.
    pub group: String,
    /// The whole recipe.
    pub recipe: Recipe,
    /// What the parts are called, in the order of [`TrainedPart::ALL`].
    parts: Vec<String>,
    /// What decides the weights and what is measured.
    pub settings: Value,
}

/// A training that one or several models stand on.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedPart {
    /// What is trained.
    pub part: TrainedPart,
    /// Name of its folder in `parts/`.
    pub folder: String,
    /// Of its recipe.
    pub seed: u64,
    /// Of its training.
    pub steps: usize,
    /// Who stands on it.
    pub variants: Vec<String>,
    /// Whether it is trained, or has diverged for all who stand on it.
    pub done: bool,
}

impl PlannedRun {
    fn new(variant: &str, group: &str, recipe: &Recipe) -> Result<Self> {
        let mut settings = settings::deciding(recipe, TrainedPart::Diffusion)?;
        settings["evaluation"] = json!(recipe.evaluation()?);
        let name = |part| Ok(format!("{part}-{}", short_hash(&settings::deciding(recipe, part)?)));
        let parts = TrainedPart::ALL.into_iter().map(name).collect::<Result<_>>()?;
        Ok(Self { variant: variant.into(), group: group.into(), recipe: recipe.clone(), parts, settings })
    }

    /// What a part is called: the same for the same settings.
    pub fn part(&self, part: TrainedPart) -> &str {
        &self.parts[part as usize]
    }

    /// `l1, seed 0`.
    pub fn name(&self) -> String {
        format!("{}, seed {}", self.variant, self.recipe.seed)
    }
}

fn short_hash(settings: &Value) -> String {
    hex(&Sha256::digest(settings.to_string()))[..DIGITS].to_owned()
}

impl Plan {
    /// What a sweep asks for.
    ///
    /// # Errors
    /// `Error::Config` for a recipe without one of the sections, and for a variant that gives what another one gives.
    pub fn new(file: &SweepFile) -> Result<Self> {
        let seeds = file.variants.first().map_or(0, |base| base.recipes.len());
        let mut runs: Vec<PlannedRun> = Vec::new();
        for seed in 0..seeds {
            for variant in &file.variants {
                let run = PlannedRun::new(&variant.name, &variant.group, &variant.recipes[seed])?;
                if let Some(same) = runs.iter().find(|other| other.settings == run.settings) {
                    let key = format!("variants.{}", run.variant);
                    let expected = "changes of what is trained or measured";
                    return Err(Error::config(
                        &file.path,
                        key,
                        expected,
                        format!("what `{}` is", same.variant),
                    ));
                }
                runs.push(run);
            }
        }
        Ok(Self { runs })
    }

    /// The base with the same seed.
    pub fn base_of<'a>(&'a self, run: &'a PlannedRun) -> &'a PlannedRun {
        // Each seed begins with its base.
        self.runs.iter().find(|base| base.recipe.seed == run.recipe.seed).unwrap_or(run)
    }

    /// Names of the variants, the base first.
    pub fn variants(&self) -> Vec<&str> {
        let first = self.runs.first().map_or(0, |run| run.recipe.seed);
        let of_first = self.runs.iter().filter(|run| run.recipe.seed == first);
        of_first.map(|run| run.variant.as_str()).collect()
    }

    /// All trainings, in the order in which they are made.
    ///
    /// # Errors
    /// As [`Recipe::training`].
    pub fn parts(&self, folder: &SweepFolder) -> Result<Vec<PlannedPart>> {
        let mut parts: Vec<PlannedPart> = Vec::new();
        for run in &self.runs {
            for part in TrainedPart::ALL {
                let name = run.part(part);
                let done = folder.is_trained(name) || folder.metrics(run).is_file();
                if let Some(planned) = parts.iter_mut().find(|planned| planned.folder == name) {
                    planned.variants.push(run.variant.clone());
                    planned.done &= done;
                    continue;
                }
                parts.push(PlannedPart {
                    part,
                    folder: name.into(),
                    seed: run.recipe.seed,
                    steps: run.recipe.training(part)?.steps,
                    variants: vec![run.variant.clone()],
                    done,
                });
            }
        }
        Ok(parts)
    }
}
