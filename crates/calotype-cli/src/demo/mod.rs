//! `calotype demo`: the whole way from embedded data to an evaluated model.

use std::path::{Path, PathBuf};

use calotype::demo;
use calotype::files::atomic;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::{Recipe, Session};
use calotype::{Error, Result};

use crate::message;
use crate::options::Context;
use crate::train::{Data, embedded, train_part};

/// Recipes in the binary; any other name is a file.
const RECIPES: [(&str, &str); 3] = [
    ("demo", include_str!("../../../../configs/demo.toml")),
    ("full", include_str!("../../../../configs/full.toml")),
    ("smoke", include_str!("../../../../configs/smoke.toml")),
];

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run: model/, report.html, metrics.json, samples/, heat_maps/
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// demo, full (better, about an hour), smoke (minutes, no good pictures), or a TOML file
    #[arg(long, value_name = "NAME", default_value = "demo")]
    recipe: String,
    /// Go on with an unfinished run
    #[arg(long)]
    resume: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let recipe = match RECIPES.iter().find(|(name, _)| *name == args.recipe) {
        Some((name, text)) => Recipe::parse(Path::new(&format!("{name}.toml")), text)?,
        None => Recipe::read(Path::new(&args.recipe))?,
    };
    let started = std::time::Instant::now();
    let run = RunFolder::new(&args.out);
    if !args.resume && args.out.is_dir() && !is_empty(&args.out)? {
        let got = format!("`{}`, which has files in it", args.out.display());
        return Err(Error::argument("--out", "a new folder, or --resume to go on with this run", got));
    }
    let scenes = embedded(&recipe)?;
    context.bars.catch_ctrl_c();
    TrainedPart::ALL.into_iter().try_for_each(|part| recipe.keep_in(&run, part))?;
    let session = Session {
        run: &run,
        threads: context.threads,
        workers: 1,
        resume: false,
        device: &context.device,
        preflight: true,
        progress: &context.bars,
    };
    for part in TrainedPart::ALL {
        let data = Data::embedded(&recipe, part, scenes.clone())?;
        let session = Session { resume: run.has_begun(part)?, ..session };
        train_part(part, &recipe, &data, context, session)?;
    }
    let training_seconds = started.elapsed().as_secs_f64();
    let evaluation = demo::evaluate(&recipe, &scenes, session)?;

    let commit = env!("CALOTYPE_COMMIT");
    let metrics = evaluation.metrics(commit, training_seconds, started.elapsed().as_secs_f64());
    demo::report::write(&args.recipe, &recipe, &run, &evaluation, commit)?;
    atomic::write_json(&args.out.join("metrics.json"), &metrics)?;
    context.bars.say(&format!("report: {}", args.out.join("report.html").display()));
    if context.json {
        message::json(&metrics);
    } else {
        for [name, value, how] in evaluation.rows() {
            println!("{name:<46} {value:<46} {how}");
        }
    }
    Ok(())
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(folder).map_err(Error::io("read", folder))?.next().is_none())
}
