//! `calotype demo`: the whole way from embedded data to an evaluated model.

use std::path::PathBuf;

use calotype::Result;
use calotype::demo::{Demo, Outcome, recipe};
use calotype::runs::folder::RunFolder;

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run: model/, report.html, metrics.json, samples/, heat_maps/
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// demo, full (forty nouns, about an hour), smoke (minutes, no good pictures), or a TOML file
    #[arg(long, value_name = "NAME", default_value = "demo")]
    recipe: String,
    /// Go on with an unfinished run
    #[arg(long)]
    resume: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let demo = Demo {
        recipe: recipe(&args.recipe)?,
        recipe_name: args.recipe.clone(),
        run: RunFolder::new(&args.out),
        resume: args.resume,
        commit: env!("CALOTYPE_COMMIT").into(),
    };
    context.bars.catch_ctrl_c();
    let Outcome { evaluation, metrics } = demo.run(context.machine())?;
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
