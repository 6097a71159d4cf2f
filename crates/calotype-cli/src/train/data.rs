//! The pictures that a training and its validation see.

use std::path::PathBuf;
use std::sync::Arc;

use calotype::Result;
use calotype::data::buckets::Buckets;
use calotype::data::division::divide;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
use calotype::data::open::{Captions, open};
use calotype::data::pictures::{Encoded, Pictures, Scenes};
use calotype::data::source::TrainingSet;
use calotype::data::transform::{Crop, Transform};
use calotype::runs::folder::TrainedPart;
use calotype::trainer::Recipe;
use calotype::validation::VALIDATION_SEED;

use crate::options::Context;

/// Held-out scenes that a validation may ask for.
const HELD_OUT_SCENES: u64 = 256;
/// Lines about what is left out, at most.
const SAID: usize = 5;

/// Where pictures come from.
pub struct Source<'a> {
    /// As the user named them; none: the embedded scenes.
    pub data: &'a [String],
    /// The same for validation.
    pub validation: &'a [String],
    /// Where downloads and copies are kept.
    pub cache: PathBuf,
}

/// Both sides.
pub struct Data {
    /// What training sees.
    pub training: TrainingSet,
    /// What it does not.
    pub validation: Option<TrainingSet>,
    /// What of the source is not used, and why.
    left_out: Vec<String>,
}

impl Data {
    /// Opens what the user named, or makes the embedded scenes.
    pub fn open(recipe: &Recipe, part: TrainedPart, source: &Source) -> Result<Self> {
        if source.data.is_empty() {
            return Self::embedded(recipe, part, embedded(recipe)?);
        }
        // An autoencoder looks at pictures alone.
        let captions = if part == TrainedPart::Vae { Captions::Optional } else { Captions::Required };
        let all = |names: &[String]| -> Result<Arc<dyn Pictures>> {
            Ok(Arc::new(Encoded(open(names, captions, &source.cache)?)))
        };
        let pictures = all(source.data)?;
        let left_out = pictures.left_out();
        let count = pictures.count().unwrap_or(0);
        let (members, validation) = match source.validation {
            // Divided whether or not this part validates: what one part must not see, no part sees.
            [] => {
                let (members, held_out) = divide(count, recipe.data.validation);
                let validation = (!held_out.is_empty()).then(|| (pictures.clone(), Some(held_out)));
                (Some(members), validation)
            }
            names => (None, Some((all(names)?, None))),
        };
        let training = training_set(recipe, part, pictures, members)?;
        let still = |(pictures, members)| validation_set(recipe, part, pictures, members);
        Ok(Self { training, validation: validation.map(still).transpose()?, left_out })
    }

    /// The embedded scenes, and those of held-out compositions.
    pub fn embedded(recipe: &Recipe, part: TrainedPart, scenes: EmojiScenes) -> Result<Self> {
        let split = |split: Split| Arc::new(Scenes { scenes: scenes.clone(), split });
        let members = match part {
            TrainedPart::Diffusion => {
                recipe.diffusion()?.cached_scenes.map(|count| (0..count as u64).collect())
            }
            _ => None,
        };
        let training = training_set(recipe, part, split(Split::Train), members)?;
        let held_out = Some((0..HELD_OUT_SCENES).collect());
        let validation = validation_set(recipe, part, split(Split::HeldOut), held_out)?;
        let validation = (recipe.data.validation > 0.0).then_some(validation);
        Ok(Self { training, validation, left_out: vec![] })
    }

    /// What there is.
    pub fn describe(&self, context: &Context) {
        let count = |set: &TrainingSet| set.count().map_or("endless".into(), |count| count.to_string());
        let validation = self.validation.as_ref().map_or("none".into(), count);
        let training = count(&self.training);
        context.bars.say(&format!("data: {training} pictures for training, {validation} for validation"));
        self.left_out.iter().take(SAID).for_each(|line| context.bars.say(line));
        if self.left_out.len() > SAID {
            let more = self.left_out.len() - SAID;
            context.bars.say(&format!("and {more} more: `calotype data inspect` has all"));
        }
    }
}

fn training_set(
    recipe: &Recipe,
    part: TrainedPart,
    pictures: Arc<dyn Pictures>,
    members: Option<Vec<u64>>,
) -> Result<TrainingSet> {
    let set = TrainingSet::new(pictures, members, recipe.seed, recipe.data.size, recipe.data.transform)?;
    in_buckets(recipe, part, set)
}

/// Always the same part of the same pictures, whatever the recipe's seed.
fn validation_set(
    recipe: &Recipe,
    part: TrainedPart,
    pictures: Arc<dyn Pictures>,
    members: Option<Vec<u64>>,
) -> Result<TrainingSet> {
    let still = Transform { crop: Crop::Center, flip: false, ..recipe.data.transform };
    let set = TrainingSet::new(pictures, members, VALIDATION_SEED, recipe.data.size, still)?;
    in_buckets(recipe, part, set)
}

fn in_buckets(recipe: &Recipe, part: TrainedPart, set: TrainingSet) -> Result<TrainingSet> {
    match &recipe.data.buckets {
        // The vision tower has one size.
        Some(buckets) if part != TrainedPart::Clip => {
            let buckets = Buckets::new(recipe.data.size, buckets.step, buckets.max_ratio)?;
            set.in_buckets(buckets, recipe.training(part)?.batch_size)
        }
        _ => Ok(set),
    }
}

/// The recipe's embedded data.
pub fn embedded(recipe: &Recipe) -> Result<EmojiScenes> {
    EmojiScenes::new(EmojiScenesConfig {
        size: recipe.data.size,
        seed: recipe.seed,
        max_objects: recipe.data.max_objects,
    })
}
