//! `calotype runs list|compare|plot|ema`: what is known of runs.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::SystemTime;

use calotype::Result;
use calotype::files::output;
use calotype::runs::chart::{Canvas, draw_all};
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::runs::plot::{PlotOptions, Smoothing, plot};
use calotype::runs::{compare, page, scan, text};
use calotype::trainer::ema_model::write_average;
use clap::Subcommand;

use crate::message;
use crate::options::Context;

/// Lines of a chart in the terminal.
const CHART_HEIGHT: usize = 16;
/// Characters in a line where there is no terminal to ask.
const WIDTH: usize = 100;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List runs: how far they are, their last loss, best validation and events
    List {
        /// Folder to search, at most three folders deep
        #[arg(default_value = "runs")]
        dir: PathBuf,
    },
    /// Show what differs between runs: recipes and numbers
    Compare {
        /// Run folders
        #[arg(required = true, num_args = 2.., value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Only this part: vae, clip or diffusion
        #[arg(long)]
        part: Option<TrainedPart>,
    },
    /// Draw curves of runs, in the terminal or as an HTML page
    Plot(Plot),
    /// Write a run's model with a moving average of another length
    Ema(Ema),
}

#[derive(clap::Args)]
struct Ema {
    /// Run folder whose recipe has `ema_snapshots`
    run: PathBuf,
    /// Which part: vae, clip or diffusion
    #[arg(long)]
    part: TrainedPart,
    /// Width of the average relative to the training, above 0 and at most 0.2886; 0.05 and 0.1 are usual
    #[arg(long, value_name = "S")]
    sigma_rel: f64,
    /// Steps at which the average ends [default: the last snapshot's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Folder to write; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Plot {
    /// Run folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Only this part: vae, clip or diffusion [default: all that have a log]
    #[arg(long)]
    part: Option<TrainedPart>,
    /// Name of a logged number [default: loss; with --out all]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Weight of the past in the moving average, from 0 (off) to below 1 [default: 0.9 for curves of more
    /// than 50 points]
    #[arg(long, value_name = "S")]
    smooth: Option<f64>,
    /// Write a page with the comparison and the curves, instead of drawing in the terminal
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.verb {
        Verb::List { dir } => list(dir, context),
        Verb::Compare { runs, part } => {
            let comparison = compare::compare(runs, *part)?;
            if context.json {
                message::json(&comparison);
            } else {
                print!("{}", text::comparison(&comparison));
            }
            Ok(())
        }
        Verb::Plot(plot) => draw(plot, context),
        Verb::Ema(ema) => average(ema, context),
    }
}

fn average(args: &Ema, context: &Context) -> Result<()> {
    output::require_folder("out", &args.out)?;
    let run = RunFolder::new(&args.run);
    let made = write_average(&run, args.part, args.sigma_rel, args.steps, &args.out)?;
    if context.json {
        message::json(&made);
    } else {
        println!(
            "wrote {} from {} stored averages; {:.1e} of the profile is missed",
            args.out.display(),
            made.snapshots,
            made.unexplained
        );
    }
    Ok(())
}

fn list(dir: &std::path::Path, context: &Context) -> Result<()> {
    let listing = scan::list(dir)?;
    for warning in &listing.warnings {
        eprintln!("warning: {}", text::printable(warning));
    }
    if context.json {
        message::json(&listing);
    } else {
        print!("{}", text::listing(&listing, SystemTime::now()));
    }
    Ok(())
}

fn draw(args: &Plot, context: &Context) -> Result<()> {
    let smoothing = args.smooth.map_or(Ok(Smoothing::Auto), Smoothing::by)?;
    let mut options = PlotOptions { part: args.part, metric: args.metric.clone(), smoothing };
    if let Some(out) = &args.out {
        output::require_file("out", out)?;
        page::write(&args.runs, &options, out)?;
        if context.json {
            message::json(&serde_json::json!({ "out": out, "runs": args.runs }));
        } else {
            println!("wrote {}", out.display());
        }
        return Ok(());
    }
    if context.json {
        message::json(&plot(&args.runs, &options)?);
        return Ok(());
    }
    options.metric.get_or_insert_with(|| "loss".into());
    print!("{}", draw_all(&plot(&args.runs, &options)?, canvas()));
    Ok(())
}

/// The room that the terminal has; colours as <https://no-color.org> asks.
fn canvas() -> Canvas {
    let terminal = std::io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| columns.into());
    Canvas { width, height: CHART_HEIGHT, colour: terminal && !no_colour }
}
