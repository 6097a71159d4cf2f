//! The training of one part of a run, as it is asked for: its recipe, its pictures, what it stands on, and who watches.
//!
//! Above the trainers, which know neither files of pictures nor validation.

pub mod data;

use std::path::Path;

use burn::tensor::Device;

use self::data::{DataSource, PartData};
use crate::data::emoji_scenes::EmojiScenes;
use crate::data::source::TrainingSet;
use crate::error::{Error, Result};
use crate::evaluate::extractor::InceptionExtractor;
use crate::evaluate::inception_v3::Tap;
use crate::evaluate::protocol::Protocol;
use crate::machine::Machine;
use crate::ranks::agreement::agree;
use crate::ranks::{self, Ranks, is_root};
use crate::runs::folder::{RunFolder, TrainedPart};
use crate::trainer::denoiser::base_model::BaseModel;
use crate::trainer::objective::Blind;
use crate::trainer::preflight::Findings;
use crate::trainer::{Recipe, Session, autoencoder, clip, denoiser};
use crate::validation::{AutoencoderWatch, ClipWatch, DenoiserWatch};

/// Threads that prepare batches, at most.
const MOST_WORKERS: usize = 64;

/// What is asked of the training of a part.
#[derive(Clone)]
pub struct Training<'a> {
    /// What to train.
    pub part: TrainedPart,
    /// How.
    pub recipe: Recipe,
    /// Where.
    pub run: RunFolder,
    /// On what.
    pub source: DataSource,
    /// Go on from the run's last checkpoint of the part, if there is one.
    pub resume: bool,
    /// Threads that prepare batches ahead, at most 64; the result does not depend on it.
    pub workers: usize,
    /// Check the training before its first step.
    pub preflight: bool,
    /// The processes that train as one, each with its shares of every batch.
    pub ranks: &'a dyn Ranks,
}

/// The recipe at `path` for a part, to start from `model` in place of the recipe's own.
///
/// # Errors
/// As [`Recipe::read_with`]; `Error::Argument` for a model to start CLIP from.
pub fn recipe(part: TrainedPart, path: &Path, model: Option<&Path>) -> Result<Recipe> {
    let recipe = Recipe::read_with(path, model)?;
    if part == TrainedPart::Clip && model.is_some() {
        let expected = "vae or diffusion: CLIP is trained from the start";
        return Err(Error::argument("model", expected, part));
    }
    Ok(recipe)
}

impl Training<'_> {
    /// The same with its pictures. `only_checked`: nothing will be trained.
    ///
    /// # Errors
    /// `Error::Argument` for what would be silently without effect, and for a run that has begun and is not resumed;
    /// as [`PartData::open`].
    pub fn open(&self, only_checked: bool, machine: Machine) -> Result<Opened<'_>> {
        self.require_sense()?;
        let (part, run) = (self.part, self.run.path().display());
        // Rank 0 has the run; the others need not see its folder.
        let begun = agree(self.ranks, self.run.has_begun(part))?;
        let begun = ranks::of_root(self.ranks, vec![u8::from(begun)])? == [1];
        if begun && !self.resume && !only_checked {
            let expected = format!("a run without a trained {part}, or `resume` to go on with this one");
            return Err(Error::argument("run", expected, run));
        }
        if self.resume && !begun {
            machine.progress.say(&format!("{part}: no checkpoint in `{run}`: from the beginning"));
        }
        Ok(Opened { asked: self, data: PartData::open(&self.recipe, part, &self.source)?, begun })
    }

    /// Refuses what would be silently without effect.
    fn require_sense(&self) -> Result<()> {
        let validates = self.recipe.training(self.part)?.validate_every > 0;
        if !self.source.validation.is_empty() && !validates {
            let expected = "a recipe whose `validate_every` is above 0";
            return Err(Error::argument("validation", expected, "0"));
        }
        if self.workers > MOST_WORKERS {
            return Err(Error::argument("workers", format!("at most {MOST_WORKERS}"), self.workers));
        }
        Ok(())
    }
}

/// A training with its pictures, ready to begin or to go on.
pub struct Opened<'a> {
    asked: &'a Training<'a>,
    /// Its pictures.
    pub data: PartData,
    /// Whether there is a checkpoint to go on from.
    begun: bool,
}

impl Opened<'_> {
    fn session<'a>(&'a self, machine: Machine<'a>) -> Session<'a> {
        Session {
            run: &self.asked.run,
            threads: machine.threads,
            workers: self.asked.workers,
            resume: self.begun,
            device: machine.device,
            preflight: self.asked.preflight,
            progress: machine.progress,
            ranks: self.asked.ranks,
        }
    }

    /// Trains, and keeps the recipe in the run.
    ///
    /// # Errors
    /// As [`train_part`]; `Error::Io`.
    pub fn train(&self, machine: Machine) -> Result<()> {
        let Training { part, recipe, run, .. } = self.asked;
        if !self.begun && is_root(self.asked.ranks) {
            recipe.keep_in(run, *part)?;
        }
        train_part(*part, recipe, &self.data, self.session(machine))
    }

    /// What is wrong with the training, and what it will cost. Nothing is trained.
    ///
    /// # Errors
    /// Those of the data and of the parts that the training stands on.
    pub fn check(&self, machine: Machine) -> Result<Findings> {
        let (recipe, session, training) = (&self.asked.recipe, self.session(machine), &self.data.training);
        let validated = validation(self.asked.part, recipe, &self.data)?.is_some();
        match self.asked.part {
            TrainedPart::Vae => {
                if validated {
                    inception(recipe, session.device)?;
                }
                autoencoder::check(recipe, training, session)
            }
            TrainedPart::Clip => {
                clip::check(recipe, clip::tokenizer(recipe.clip()?, training)?, training, session)
            }
            TrainedPart::Diffusion => {
                let base = BaseModel::load(recipe, session.run, session.device)?;
                denoiser::check(recipe, &base, training, session)
            }
        }
    }
}

/// The pictures that a part is validated with, if the recipe asks for it.
fn validation<'a>(part: TrainedPart, recipe: &Recipe, data: &'a PartData) -> Result<Option<&'a TrainingSet>> {
    if recipe.training(part)?.validate_every == 0 {
        return Ok(None);
    }
    data.validation.as_ref().map(Some).ok_or_else(|| {
        Error::data(
            format!("`{part}.training.validate_every` of the recipe"),
            "pictures for validation: `data.validation` above 0 and two pictures, or `validation`",
            "none",
        )
    })
}

/// Trains one part of a run, watched on validation pictures where the recipe asks for it.
///
/// # Errors
/// `Error::Data` where it asks and there are none; those of the parts that the training stands on; as
/// [`train`](crate::trainer::training_loop::train).
pub fn train_part(part: TrainedPart, recipe: &Recipe, data: &PartData, session: Session) -> Result<()> {
    let (training, device) = (&data.training, session.device);
    match (part, validation(part, recipe, data)?) {
        (TrainedPart::Vae, None) => autoencoder::train(recipe, training, session, &Blind),
        (TrainedPart::Vae, Some(validation)) => {
            let watch = AutoencoderWatch::new(validation, device, inception(recipe, device)?)?;
            autoencoder::train(recipe, training, session, &watch)
        }
        (TrainedPart::Clip, validation) => {
            let tokenizer = clip::tokenizer(recipe.clip()?, training)?;
            match validation {
                None => clip::train(recipe, tokenizer, training, session, &Blind),
                Some(validation) => {
                    let watch = ClipWatch::new(validation, tokenizer.clone(), device)?;
                    clip::train(recipe, tokenizer, training, session, &watch)
                }
            }
        }
        (TrainedPart::Diffusion, validation) => {
            let base = BaseModel::load(recipe, session.run, device)?;
            base.notes.iter().for_each(|note| session.progress.say(note));
            match validation {
                None => denoiser::train(recipe, &base, training, session, &Blind),
                Some(validation) => {
                    let watch = DenoiserWatch::new(recipe, &base, validation, device)?;
                    denoiser::train(recipe, &base, training, session, &watch)
                }
            }
        }
    }
}

/// [`train_part`] on the embedded scenes, from the part's last checkpoint if the run has one.
///
/// # Errors
/// As [`PartData::embedded`] and [`train_part`].
pub fn train_on_scenes(
    part: TrainedPart,
    recipe: &Recipe,
    scenes: &EmojiScenes,
    session: Session,
) -> Result<()> {
    let data = PartData::embedded(recipe, part, scenes.clone())?;
    let session = Session { resume: session.run.has_begun(part)?, ..session };
    train_part(part, recipe, &data, session)
}

/// FID's Inception, if the recipe names its weights.
fn inception(recipe: &Recipe, device: &Device) -> Result<Option<InceptionExtractor>> {
    let Some(path) = &recipe.vae()?.inception else { return Ok(None) };
    InceptionExtractor::load(path, Protocol::PytorchFid, Tap::Pool3, device).map(Some)
}
