//! `calotype sweep FILE`: variants of a recipe, trained and measured side by side.

use std::path::PathBuf;

use calotype::Result;
use calotype::sweep::{PlannedPart, Sweep, SweepFile, SweepFolder};

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Base recipe, variants and seeds (TOML), see configs/what-matters.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the sweep: variants/, parts/, table.md, table.csv, metrics.json, report.html; what is there already is
    /// not made again
    #[arg(long, value_name = "DIR", default_value = "runs/sweep")]
    out: PathBuf,
    /// List what will be trained, and for which variants; train nothing
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let file = SweepFile::read(&args.file)?;
    let sweep = Sweep::new(file, SweepFolder::new(&args.out), env!("CALOTYPE_COMMIT"))?;
    let (parts, runs) = (sweep.parts()?, sweep.runs());
    if args.check {
        print_check(&parts, &runs, context);
        return Ok(());
    }
    let left = parts.iter().filter(|part| !part.done).count();
    let models = runs.iter().filter(|run| run["measured"] == false).count();
    context.bars.say(&format!("{left} trainings and {models} models to go"));
    context.bars.catch_ctrl_c();
    let results = sweep.run(context.machine())?;
    context.bars.say(&format!("report: {}", args.out.join("report.html").display()));
    if context.json {
        message::json(&serde_json::json!(results));
    } else {
        print!("{}", results.to_markdown());
    }
    Ok(())
}

/// A line for each training.
fn print_check(parts: &[PlannedPart], runs: &[serde_json::Value], context: &Context) {
    if context.json {
        return message::json(&serde_json::json!({ "parts": parts, "runs": runs }));
    }
    for PlannedPart { folder, seed, steps, variants, done, .. } in parts {
        let state = if *done { "done" } else { "to do" };
        let shared = if variants.len() > 1 { "shared by " } else { "" };
        println!("{folder:<22}  seed {seed}, {steps} steps, {state}: {shared}{}", variants.join(", "));
    }
    let measured = runs.iter().filter(|run| run["measured"] == true).count();
    println!("{} trainings for {} models, of which {measured} are measured", parts.len(), runs.len());
}
