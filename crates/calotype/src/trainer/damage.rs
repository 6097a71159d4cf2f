//! How many pictures may be damaged.

use super::recipe::DataRecipe;
use crate::data::source::TrainingSet;

/// How many pictures may be damaged.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    /// Different pictures, damaged ones among them; `None` if they have no end.
    pub pictures: Option<usize>,
    /// Share of them that may be damaged.
    pub most: f64,
}

impl Damage {
    /// That of a training set, as the recipe says.
    pub fn of(data: &TrainingSet, recipe: &DataRecipe) -> Self {
        let pictures = data.count().map(|count| count + data.left_out().len());
        Self { pictures, most: recipe.max_damaged }
    }
}
