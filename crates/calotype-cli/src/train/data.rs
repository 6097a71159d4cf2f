//! The pictures that a training and its validation see.

use std::path::PathBuf;
use std::sync::Arc;

use calotype::Result;
use calotype::data::buckets::Buckets;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
use calotype::data::open::{Captions, open};
use calotype::data::pictures::{Encoded, Pictures, Scenes};
use calotype::data::source::{Damaged, TrainingSet, divide};
use calotype::data::transform::{Crop, Transform};
use calotype::trainer::Recipe;

use super::Part;
use crate::options::Context;

/// Held-out scenes that a validation may ask for.
const HELD_OUT_SCENES: u64 = 256;

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
    /// Pictures that cannot even be measured.
    damaged: Vec<Damaged>,
}

impl Data {
    /// Opens what the user named, or makes the embedded scenes.
    pub fn open(recipe: &Recipe, part: Part, source: &Source) -> Result<Self> {
        if source.data.is_empty() {
            return Self::embedded(recipe, part, embedded(recipe)?);
        }
        // An autoencoder looks at pictures alone.
        let captions = if part == Part::Vae { Captions::Optional } else { Captions::Required };
        let all = |names: &[String]| -> Result<Arc<dyn Pictures>> {
            Ok(Arc::new(Encoded(open(names, captions, &source.cache)?)))
        };
        let pictures = all(source.data)?;
        let count = pictures.count().unwrap_or(0);
        let (training, validation) = match source.validation {
            [] => {
                let share =
                    if part.training(recipe)?.validate_every > 0 { recipe.data.validation } else { 0.0 };
                let (training, validation) = divide(count, share);
                let validation = (!validation.is_empty()).then(|| (pictures.clone(), Some(validation)));
                ((pictures, Some(training)), validation)
            }
            names => ((pictures, None), Some((all(names)?, None))),
        };
        let transform = recipe.data.transform;
        let (training, damaged) = training_set(recipe, part, training.0, training.1, transform)?;
        // The same pictures, always the same part of them.
        let still = Transform { crop: Crop::Center, flip: false, ..transform };
        let seed_free = |(pictures, members)| training_set(recipe, part, pictures, members, still);
        let validation = validation.map(seed_free).transpose()?.map(|(set, _)| set);
        Ok(Self { training, validation, damaged })
    }

    /// The embedded scenes, and those of held-out compositions.
    pub fn embedded(recipe: &Recipe, part: Part, scenes: EmojiScenes) -> Result<Self> {
        let split = |split: Split| Arc::new(Scenes { scenes: scenes.clone(), split });
        let members = match part {
            Part::Diffusion => recipe.diffusion()?.cached_scenes.map(|count| (0..count as u64).collect()),
            _ => None,
        };
        let transform = recipe.data.transform;
        let (training, damaged) = training_set(recipe, part, split(Split::Train), members, transform)?;
        let held_out = Some((0..HELD_OUT_SCENES).collect());
        let (validation, _) = training_set(recipe, part, split(Split::HeldOut), held_out, transform)?;
        Ok(Self { training, validation: (recipe.data.validation > 0.0).then_some(validation), damaged })
    }

    /// One line about what there is.
    pub fn describe(&self, context: &Context) {
        let count = |set: &TrainingSet| set.count().map_or("endless".into(), |count| count.to_string());
        let validation = self.validation.as_ref().map_or("none".into(), count);
        context.bars.say(&format!(
            "data: {} pictures for training, {validation} for validation",
            count(&self.training)
        ));
        for damaged in &self.damaged {
            context.bars.say(&format!("left out: {}", damaged.reason));
        }
    }
}

fn training_set(
    recipe: &Recipe,
    part: Part,
    pictures: Arc<dyn Pictures>,
    members: Option<Vec<u64>>,
    transform: Transform,
) -> Result<(TrainingSet, Vec<Damaged>)> {
    let set = TrainingSet::new(pictures, members, recipe.seed, recipe.data.size, transform)?;
    let batch_size = match part {
        Part::Vae => recipe.vae()?.training.batch_size,
        Part::Diffusion => recipe.diffusion()?.training.batch_size,
        // The vision tower has one size.
        Part::Clip => return Ok((set, vec![])),
    };
    match &recipe.data.buckets {
        None => Ok((set, vec![])),
        Some(buckets) => {
            let buckets = Buckets::new(recipe.data.size, buckets.step, buckets.max_ratio)?;
            set.in_buckets(buckets, batch_size)
        }
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
