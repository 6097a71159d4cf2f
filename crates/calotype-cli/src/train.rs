//! `calotype train vae|clip|diffusion`

use std::path::PathBuf;

use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig};
use calotype::data::image_folder::ImageFolder;
use calotype::data::source::{CaptionedPictures, ShuffledFolder, TrainingScenes};
use calotype::trainer::training_loop::Session;
use calotype::trainer::{self, Recipe, RunFolder};
use calotype::{Error, Result};
use clap::ValueEnum;

use crate::message;
use crate::options::Context;

/// The parts, in the order in which they are trained.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The autoencoder
    Vae,
    /// The tokenizer and both CLIP towers
    Clip,
    /// The U-Net; needs `vae` and `clip` of the same run
    Diffusion,
}

#[derive(clap::Args)]
pub struct Args {
    /// What to train
    part: Part,
    /// Recipe (TOML), see configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder of the run: model/, state/, logs/
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Image folder with metadata.jsonl [default: the embedded emoji-scenes]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Go on from the run's last checkpoint
    #[arg(long)]
    resume: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let recipe = Recipe::read(&args.config)?;
    let run = RunFolder::new(&args.run);
    let name = match args.part {
        Part::Vae => "vae",
        Part::Clip => "clip",
        Part::Diffusion => "diffusion",
    };
    if !args.resume && run.state(name).exists() {
        return Err(Error::argument(
            "--run",
            format!("a run without a trained {name}, or --resume to go on with this one"),
            args.run.display(),
        ));
    }
    let data: Box<dyn CaptionedPictures> = match &args.data {
        None => Box::new(TrainingScenes(embedded(&recipe)?)),
        Some(dir) => Box::new(ShuffledFolder::new(ImageFolder::open(dir)?, recipe.seed, recipe.data.size)),
    };
    let session =
        Session { run: &run, threads: context.threads, resume: args.resume, progress: &context.bars };
    context.bars.catch_ctrl_c();
    train_part(args.part, &recipe, data.as_ref(), context, session)?;
    if context.json {
        message::json(&serde_json::json!({ "part": name, "model": run.model(), "log": run.log(name) }));
    }
    Ok(())
}

/// One part of a run.
pub fn train_part(
    part: Part,
    recipe: &Recipe,
    data: &dyn CaptionedPictures,
    context: &Context,
    session: Session,
) -> Result<()> {
    match part {
        Part::Vae => trainer::autoencoder::train(recipe, data, &context.device, session),
        Part::Clip => trainer::clip::train(recipe, data, &context.device, session),
        Part::Diffusion => trainer::denoiser::train(recipe, data, &context.device, session),
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
