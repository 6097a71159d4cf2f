//! `calotype train vae|clip|diffusion`

mod check;
mod data;

use std::path::PathBuf;

use calotype::evaluate::extractor::InceptionExtractor;
use calotype::evaluate::inception_v3::{Tap, weights};
use calotype::evaluate::protocol::Protocol;
use calotype::formats::atomic;
use calotype::trainer::base_model::BaseModel;
use calotype::trainer::checkpoint::checkpoints;
use calotype::trainer::objective::Blind;
use calotype::trainer::recipe::{Precision, TrainingRecipe};
use calotype::trainer::training_loop::Session;
use calotype::trainer::{self, Recipe, RunFolder};
use calotype::validation::{AutoencoderWatch, ClipWatch, DenoiserWatch};
use calotype::{Error, Result};
use clap::ValueEnum;

use crate::message;
use crate::options::{Context, Dtype};
pub use data::{Data, Source, embedded};

/// The parts, in the order in which they are trained.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The autoencoder
    Vae,
    /// The tokenizer and both CLIP towers
    Clip,
    /// The U-Net; needs `vae` and `clip` of the same run, or a `model` to fine-tune
    Diffusion,
}

impl Part {
    /// Names logs and checkpoints.
    fn name(self) -> &'static str {
        match self {
            Part::Vae => "vae",
            Part::Clip => "clip",
            Part::Diffusion => "diffusion",
        }
    }

    /// Steps, learning rate and the rest.
    fn training(self, recipe: &Recipe) -> Result<&TrainingRecipe> {
        Ok(match self {
            Part::Vae => &recipe.vae()?.training,
            Part::Clip => &recipe.clip()?.training,
            Part::Diffusion => &recipe.diffusion()?.training,
        })
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// What to train
    part: Part,
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

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let mut recipe = Recipe::read(&args.config)?;
    if let Some(model) = &args.model {
        recipe = recipe.with_model(model)?;
    }
    let run = RunFolder::new(&args.run);
    let name = args.part.name();
    if !args.check && !args.resume && !checkpoints(&run.checkpoints(name))?.is_empty() {
        return Err(Error::argument(
            "--run",
            format!("a run without a trained {name}, or --resume to go on with this one"),
            args.run.display(),
        ));
    }
    let source = Source { data: &args.data, validation: &args.validation, cache: run.cache() };
    let data = Data::open(&recipe, args.part, &source)?;
    data.describe(context);
    let session = Session {
        run: &run,
        threads: context.threads,
        workers: args.workers,
        resume: args.resume,
        preflight: if args.check {
            trainer::Preflight::Only
        } else {
            trainer::Preflight::unless(args.no_check)
        },
        progress: &context.bars,
    };
    context.bars.catch_ctrl_c();
    if !args.check {
        atomic::write(&run.recipe(), recipe.to_toml()?.as_bytes())?;
    }
    let checked = train_part(args.part, &recipe, &data, context, session)?;
    match checked {
        Some(report) => check::print(&report, context),
        None if context.json => {
            message::json(&serde_json::json!({ "part": name, "model": run.model(), "log": run.log(name) }));
            Ok(())
        }
        None => Ok(()),
    }
}

/// One part of a run; what the check found, if only that was asked for.
pub fn train_part(
    part: Part,
    recipe: &Recipe,
    data: &Data,
    context: &Context,
    session: Session,
) -> Result<Option<trainer::preflight::Report>> {
    let device = &context.device;
    let training = part.training(recipe)?;
    if training.precision == Precision::Bf16 {
        Dtype::Bf16.choose()?;
    }
    let validation = data.validation.as_ref().filter(|_| training.validate_every > 0);
    match (part, validation) {
        (Part::Vae, None) => trainer::autoencoder::train(recipe, &data.training, device, session, &Blind),
        (Part::Vae, Some(validation)) => {
            let watch = AutoencoderWatch::new(validation, device, inception(recipe, context)?)?;
            trainer::autoencoder::train(recipe, &data.training, device, session, &watch)
        }
        (Part::Clip, None) => trainer::clip::train(recipe, &data.training, device, session, &Blind),
        (Part::Clip, Some(validation)) => {
            let tokenizer = trainer::clip::tokenizer(recipe.clip()?, &data.training)?;
            let watch = ClipWatch::new(validation, tokenizer, device)?;
            trainer::clip::train(recipe, &data.training, device, session, &watch)
        }
        (Part::Diffusion, validation) => {
            let base = BaseModel::load(recipe, session.run, device)?;
            match validation {
                None => trainer::denoiser::train(recipe, &base, &data.training, device, session, &Blind),
                Some(validation) => {
                    let watch = DenoiserWatch::new(recipe, &base, validation, device)?;
                    trainer::denoiser::train(recipe, &base, &data.training, device, session, &watch)
                }
            }
        }
    }
}

/// FID's Inception, if the recipe names its weights.
fn inception(recipe: &Recipe, context: &Context) -> Result<Option<InceptionExtractor>> {
    let Some(path) = &recipe.vae()?.inception else { return Ok(None) };
    let (network, sha256) = weights::load(path, &context.device)?;
    let device = context.device.clone();
    Ok(Some(InceptionExtractor { network, sha256, protocol: Protocol::PytorchFid, tap: Tap::Pool3, device }))
}
