//! What a training depends on: a resume under other settings is refused.

use serde::Serialize;
use serde_json::{Value, json};

use super::recipe::{DataRecipe, Recipe};
use crate::data::source::TrainingSet;
use crate::error::Result;
use crate::runs::folder::TrainedPart;

/// Everything that decides the weights, and nothing else.
#[derive(Debug, Serialize)]
pub struct TrainingSettings<P: Serialize> {
    seed: u64,
    model: Option<String>,
    data: DataRecipe,
    part: P,
    /// Different pictures; none if there is no end to them.
    pictures: Option<usize>,
    /// A hash of which they are, and of their captions.
    captions: String,
}

impl<P: Serialize> TrainingSettings<P> {
    /// Those of a part; `part` is its section of the recipe without what does not matter.
    pub fn new(recipe: &Recipe, data: &TrainingSet, part: P) -> Self {
        Self {
            seed: recipe.seed,
            model: recipe.model_name(),
            data: recipe.data.identity(),
            part,
            pictures: data.count(),
            captions: data.fingerprint(),
        }
    }
}

/// What decides the weights of a part that is trained on the recipe's embedded scenes, with all that it stands on: where
/// two recipes say the same, one training is enough for both.
///
/// # Errors
/// As [`Recipe::vae`].
pub fn deciding(recipe: &Recipe, part: TrainedPart) -> Result<Value> {
    let mut settings = json!({ "seed": recipe.seed, "data": recipe.data.identity() });
    // CLIP always starts from nothing.
    if part != TrainedPart::Clip {
        settings["model"] = json!(recipe.model);
    }
    let stands_on_all = part == TrainedPart::Diffusion;
    for section in TrainedPart::ALL.into_iter().filter(|&section| stands_on_all || section == part) {
        let mut own = match section {
            TrainedPart::Vae => json!(recipe.vae()?.identity()),
            TrainedPart::Clip => json!(recipe.clip()?.identity()),
            TrainedPart::Diffusion => json!(recipe.diffusion()?.identity()),
        };
        // A resume may train longer; two trainings of different length are two.
        own["training"]["steps"] = json!(recipe.training(section)?.steps);
        settings[section.name()] = own;
    }
    Ok(settings)
}
