//! What a model was trained to draw, where its run says so.

use std::path::{Path, PathBuf};

use crate::data::emoji_scenes::Noun;
use crate::error::Result;
use crate::trainer::Recipe;

/// The nouns and the objects of the scenes that a run's model was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The nouns.
    pub nouns: Vec<Noun>,
    /// Objects in a scene, 2 at least: prompts have two.
    pub max_objects: usize,
    /// The recipe that says so.
    pub recipe: PathBuf,
}

impl Known {
    /// Of the model folder of a run, `RUN/model`, by the run's `recipe.toml`; nothing where there is none.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn of(model: &Path) -> Result<Option<Self>> {
        // `RUN/model` may be named from inside: `.`.
        let folder = model.canonicalize().ok();
        let recipe = folder.and_then(|folder| Some(folder.parent()?.join("recipe.toml")));
        let Some(recipe) = recipe.filter(|recipe| recipe.is_file()) else { return Ok(None) };
        let data = Recipe::read(&recipe)?.data;
        let nouns = data.nouns.unwrap_or_else(|| Noun::ALL.to_vec());
        Ok(Some(Self { nouns, max_objects: data.max_objects.max(2), recipe }))
    }
}
