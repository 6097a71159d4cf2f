//! The pictures that a training and its validation see.

use std::path::PathBuf;
use std::sync::Arc;

use crate::data::buckets::Buckets;
use crate::data::collection::CaptionNeed;
use crate::data::collection::Collection;
use crate::data::division::divide;
use crate::data::emoji_scenes::{EmojiScenes, Split};
use crate::data::open::{Faulty, captions_expected, open};
use crate::data::parquet::Columns;
use crate::data::pictures::{CollectionPictures, Pictures, Scenes};
use crate::data::source::TrainingSet;
use crate::data::transform::{Crop, Transform};
use crate::error::{Error, Result};
use crate::runs::folder::TrainedPart;
use crate::trainer::Recipe;
use crate::validation::VALIDATION_SEED;

/// Held-out scenes that a validation may ask for.
const HELD_OUT_SCENES: u64 = 256;

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSource {
    /// Image folder, shards, parquet files, as [`open`] takes them; none: the embedded scenes.
    pub data: Vec<String>,
    /// The same for validation; none: a share of `data`.
    pub validation: Vec<String>,
    /// Which columns of parquet files are meant.
    pub columns: Columns,
    /// Where downloads and copies are kept.
    pub cache: PathBuf,
}

/// What a part is trained on and validated with.
pub struct PartData {
    /// What training sees.
    pub training: TrainingSet,
    /// What it does not.
    pub validation: Option<TrainingSet>,
    /// What of the source is not used, and why: of the pictures for training, then of those for validation.
    pub left_out: Vec<String>,
}

impl PartData {
    /// Opens what `source` names, or makes the embedded scenes. Up to the recipe's `max_damaged` of the samples may have
    /// a fault: they are left out, and said to be.
    ///
    /// # Errors
    /// As [`open`] and [`TrainingSet::new`]; `Error::Data` for a CLIP whose pictures have no captions; `Error::Config`
    /// for a recipe without the part's section.
    pub fn open(recipe: &Recipe, part: TrainedPart, source: &DataSource) -> Result<Self> {
        if source.data.is_empty() {
            return Self::embedded(recipe, part, recipe.scenes()?);
        }
        // An autoencoder looks at pictures alone.
        let captions = if part == TrainedPart::Vae { CaptionNeed::Optional } else { CaptionNeed::Required };
        let all = |names: &[String]| -> Result<Arc<dyn Pictures>> {
            let opened = |faulty| open(names, captions, faulty, &source.columns, &source.cache);
            let all = opened(Faulty::Refused);
            let found = match all {
                Err(error @ (Error::Format { .. } | Error::Data { .. })) => {
                    usable(opened(Faulty::LeftOut), error, recipe.data.max_damaged)
                }
                other => other,
            };
            Ok(Arc::new(CollectionPictures(found?)))
        };
        let pictures = all(&source.data)?;
        let mut left_out = pictures.left_out();
        let count = pictures.count().unwrap_or(0);
        if part == TrainedPart::Clip && (0..count).all(|i| pictures.captions(i).is_empty()) {
            let got = format!("none for any of the {count} pictures of {}", source.data.join(" "));
            return Err(Error::data("data", captions_expected(), got));
        }
        let (members, validation) = match source.validation.as_slice() {
            // Divided whether or not this part validates: what one part must not see, no part sees.
            [] => {
                let (members, held_out) = divide(count, recipe.data.validation);
                let validation = (!held_out.is_empty()).then(|| (pictures.clone(), Some(held_out)));
                (Some(members), validation)
            }
            names => {
                let pictures = all(names)?;
                left_out.extend(pictures.left_out());
                (None, Some((pictures, None)))
            }
        };
        let training = training_set(recipe, part, pictures, members)?;
        let still = |(pictures, members)| validation_set(recipe, part, pictures, members);
        Ok(Self { training, validation: validation.map(still).transpose()?, left_out })
    }

    /// The embedded scenes, and those of held-out pairs of nouns.
    ///
    /// # Errors
    /// As [`TrainingSet::new`]; `Error::Config` for a recipe without the part's section.
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
}

/// The rest of a collection of which not more than a share of `most`, rounded down, has faults.
///
/// # Errors
/// `error`, the first fault, with how many there are.
fn usable(rest: Result<Box<dyn Collection>>, error: Error, most: f64) -> Result<Box<dyn Collection>> {
    let Ok(rest) = rest else { return Err(error) };
    let faults = rest.faults().len();
    let samples = rest.len() + faults;
    let allowed = (most * samples as f64).floor();
    if faults > 0 && faults as f64 <= allowed {
        return Ok(rest);
    }
    let more = format!(
        "\n  {faults} of {samples} samples have faults, at most {allowed} are left out (`data.max_damaged` of the recipe \
         is {most}); an inspection of the data lists them all"
    );
    Err(match error {
        Error::Format { path, format, reason, cause } => {
            Error::Format { path, format, reason: reason + &more, cause }
        }
        Error::Data { what, expected, got } => Error::Data { what, expected, got: got + &more },
        other => other,
    })
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
