//! `calotype train vae|clip|diffusion`

mod check;
mod data;

use std::path::PathBuf;

use calotype::data::source::TrainingSet;
use calotype::evaluate::extractor::InceptionExtractor;
use calotype::evaluate::inception_v3::Tap;
use calotype::evaluate::protocol::Protocol;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::denoiser::base_model::BaseModel;
use calotype::trainer::objective::Blind;
use calotype::trainer::preflight::Findings;
use calotype::trainer::{Recipe, Session, autoencoder, clip, denoiser};
use calotype::validation::{AutoencoderWatch, ClipWatch, DenoiserWatch};
use calotype::{Error, Result};
use clap::builder::TypedValueParser;

use crate::message;
use crate::options::{Context, one_of};
pub use data::{Data, Source, embedded};

/// Threads that prepare batches, at most.
const MOST_WORKERS: usize = 64;

#[derive(clap::Args)]
pub struct Args {
    /// What to train
    #[arg(value_parser = trained_part())]
    part: TrainedPart,
    /// Recipe (TOML), see configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder of the run: model/, best/, state/, logs/, samples/
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Image folder, folder of tar shards or parquet files, such files, or addresses of shards
    /// [default: the embedded emoji-scenes]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<String>,
    /// Pictures for validation, in place of the recipe's share of --data
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "data")]
    validation: Vec<String>,
    /// Model to start from, in place of the recipe's `model`
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Go on from the run's last checkpoint
    #[arg(long)]
    resume: bool,
    /// Threads that prepare batches ahead; the result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Check data, gradients, memory and time; train nothing
    #[arg(long, conflicts_with_all = ["no_check", "resume"])]
    check: bool,
    /// Train without the check before the first step
    #[arg(long)]
    no_check: bool,
}

/// The parts, for the help.
fn trained_part() -> impl TypedValueParser<Value = TrainedPart> {
    one_of(TrainedPart::ALL.map(|part| (part.name(), part.about())))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let recipe = Recipe::read_with(&args.config, args.model.as_deref())?;
    let run = RunFolder::new(&args.run);
    let part = args.part;
    args.require_sense(&recipe)?;
    let begun = run.has_begun(part)?;
    if !args.check && !args.resume && begun {
        return Err(Error::argument(
            "--run",
            format!("a run without a trained {part}, or --resume to go on with this one"),
            args.run.display(),
        ));
    }
    if args.resume && !begun {
        context.bars.say(&format!("{part}: no checkpoint in `{}`: from the beginning", args.run.display()));
    }
    let source = Source { data: &args.data, validation: &args.validation, cache: run.cache() };
    let data = Data::open(&recipe, part, &source)?;
    data.describe(context);
    let session = Session {
        run: &run,
        threads: context.threads,
        workers: args.workers,
        resume: begun,
        device: &context.device,
        preflight: !args.no_check,
        progress: &context.bars,
    };
    context.bars.catch_ctrl_c();
    if args.check {
        return check::print(&check_part(part, &recipe, &data, context, session)?, context);
    }
    if !begun {
        recipe.keep_in(&run, part)?;
    }
    train_part(part, &recipe, &data, context, session)?;
    if context.json {
        message::json(&serde_json::json!({ "part": part, "model": run.model(), "log": run.log(part) }));
    }
    Ok(())
}

impl Args {
    /// Refuses what would be silently without effect.
    fn require_sense(&self, recipe: &Recipe) -> Result<()> {
        let validates = recipe.training(self.part)?.validate_every > 0;
        if !self.validation.is_empty() && !validates {
            let expected = "a recipe whose `validate_every` is above 0";
            return Err(Error::argument("--validation", expected, "0"));
        }
        if self.part == TrainedPart::Clip && self.model.is_some() {
            return Err(Error::argument(
                "--model",
                "vae or diffusion: CLIP is trained from the start",
                "clip",
            ));
        }
        if self.workers > MOST_WORKERS {
            return Err(Error::argument("--workers", format!("at most {MOST_WORKERS}"), self.workers));
        }
        Ok(())
    }
}

/// The pictures that a part is validated with, if the recipe asks for it.
fn validation<'a>(part: TrainedPart, recipe: &Recipe, data: &'a Data) -> Result<Option<&'a TrainingSet>> {
    if recipe.training(part)?.validate_every == 0 {
        return Ok(None);
    }
    data.validation.as_ref().map(Some).ok_or_else(|| Error::Data {
        what: format!("`{part}.training.validate_every` of the recipe"),
        expected: "pictures for validation: `data.validation` above 0 and two pictures, or --validation"
            .into(),
        got: "none".into(),
    })
}

/// Trains one part of a run.
pub fn train_part(
    part: TrainedPart,
    recipe: &Recipe,
    data: &Data,
    context: &Context,
    session: Session,
) -> Result<()> {
    let (training, device) = (&data.training, &context.device);
    match (part, validation(part, recipe, data)?) {
        (TrainedPart::Vae, None) => autoencoder::train(recipe, training, session, &Blind),
        (TrainedPart::Vae, Some(validation)) => {
            let watch = AutoencoderWatch::new(validation, device, inception(recipe, context)?)?;
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

/// What is wrong with the training of a part, and what it will cost. Nothing is trained.
fn check_part(
    part: TrainedPart,
    recipe: &Recipe,
    data: &Data,
    context: &Context,
    session: Session,
) -> Result<Findings> {
    let validated = validation(part, recipe, data)?.is_some();
    let training = &data.training;
    match part {
        TrainedPart::Vae => {
            if validated {
                inception(recipe, context)?;
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

/// FID's Inception, if the recipe names its weights.
fn inception(recipe: &Recipe, context: &Context) -> Result<Option<InceptionExtractor>> {
    let Some(path) = &recipe.vae()?.inception else { return Ok(None) };
    InceptionExtractor::load(path, Protocol::PytorchFid, Tap::Pool3, &context.device).map(Some)
}
