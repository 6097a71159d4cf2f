//! `calotype train vae|clip|diffusion`: one part of a run.

use std::path::PathBuf;

use calotype::data::source::TrainingSet;
use calotype::files::output;
use calotype::machine::memory::mib;
use calotype::ranks::{Ranks, is_root};
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::preflight::Findings;
use calotype::training::data::{DataSource, PartData};
use calotype::training::{Training, recipe};
use calotype::{Error, Result};
use clap::builder::TypedValueParser;

use crate::message;
use crate::options::{ColumnOptions, Context, one_of};
use crate::ranks::RankOptions;

/// Lines about what is left out, at most.
const SAID: usize = 5;

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
    #[command(flatten)]
    columns: ColumnOptions,
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
    #[command(flatten)]
    ranks: RankOptions,
}

/// The parts, for the help.
fn trained_part() -> impl TypedValueParser<Value = TrainedPart> {
    one_of(TrainedPart::ALL.map(|part| (part.name(), part.about())))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    args.ranks.with(context, |ranks, context| train(args, ranks, context))
}

fn train(args: &Args, ranks: &dyn Ranks, context: &Context) -> Result<()> {
    output::require_folder("run", &args.run)?;
    let run = RunFolder::new(&args.run);
    let cache = run.cache();
    let training = Training {
        part: args.part,
        recipe: recipe(args.part, &args.config, args.model.as_deref())?,
        run,
        source: DataSource {
            data: args.data.clone(),
            validation: args.validation.clone(),
            columns: args.columns.columns(),
            cache,
        },
        resume: args.resume,
        workers: args.workers,
        preflight: !args.no_check,
        ranks,
    };
    let opened = training.open(args.check, context.machine())?;
    describe(&opened.data, context);
    context.bars.catch_ctrl_c();
    if args.check {
        if ranks.count() > 1 {
            return Err(Error::argument("--check", "one process", format!("{} ranks", ranks.count())));
        }
        return print_check(&opened.check(context.machine())?, context);
    }
    opened.train(context.machine())?;
    if context.json && is_root(ranks) {
        let (model, log) = (training.run.model(), training.run.log(args.part));
        message::json(&serde_json::json!({ "part": args.part, "model": model, "log": log }));
    }
    Ok(())
}

/// Which pictures there are.
fn describe(data: &PartData, context: &Context) {
    let count = |set: &TrainingSet| set.count().map_or("endless".into(), |count| count.to_string());
    let validation = data.validation.as_ref().map_or("none".into(), count);
    let training = count(&data.training);
    context.bars.say(&format!("data: {training} pictures for training, {validation} for validation"));
    data.left_out.iter().take(SAID).for_each(|line| context.bars.say(line));
    if data.left_out.len() > SAID {
        let more = data.left_out.len() - SAID;
        context.bars.say(&format!("and {more} more: `calotype data inspect` has all"));
    }
}

/// Prints the report; faults are an error.
fn print_check(report: &Findings, context: &Context) -> Result<()> {
    if context.json {
        message::json(report);
    } else {
        let share = if report.trained_parameters == report.all_parameters { "all" } else { "of" };
        println!("trained parameters  {} ({share} {})", report.trained_parameters, report.all_parameters);
        println!("state in memory     {:.0} MiB", mib(report.state_bytes as u64));
        if let Some(peak) = report.peak_bytes {
            println!("peak of the check   {:.0} MiB", mib(peak));
        }
        if let Some(bytes) = report.device_bytes {
            let of = report.of_device_bytes.map(|has| format!(" of {:.0}", mib(has))).unwrap_or_default();
            println!("of the device       about {:.0}{of} MiB", mib(bytes));
        }
        println!("first loss          {:.4}", report.first_loss);
        println!("seconds per step    {:.3}", report.seconds_per_step);
        println!("whole training      about {}", duration(report.seconds));
        report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
        if report.faults.is_empty() {
            println!("no faults");
        }
    }
    if !report.faults.is_empty() {
        return Err(Error::Preflight { faults: report.faults.clone() });
    }
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
