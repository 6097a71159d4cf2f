//! What a training depends on: a resume under other settings is refused.

use serde::Serialize;

use super::recipe::{DataRecipe, Recipe};
use crate::data::source::TrainingSet;

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
