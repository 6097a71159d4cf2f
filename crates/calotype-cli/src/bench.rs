//! `calotype bench`: time and memory of one step of a network, given its `config.json` alone.

use std::path::PathBuf;

use calotype::Result;
use calotype::bench::{Benchmark, Mode, Timings};
use calotype::nn::Precision;
use clap::builder::TypedValueParser;

use crate::message;
use crate::options::{Context, one_of, precision};

#[derive(clap::Args)]
pub struct Args {
    /// `config.json` of a UNet2DConditionModel or an AutoencoderKL
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Samples in a step
    #[arg(long, value_name = "B")]
    batch: usize,
    /// Side of the network's input: latents of a U-Net, pictures of an autoencoder
    #[arg(long, value_name = "S")]
    size: usize,
    /// Tokens of the text, for a U-Net
    #[arg(long, default_value_t = 77, value_name = "L")]
    context_tokens: usize,
    /// What a step is
    #[arg(long, value_parser = mode())]
    mode: Mode,
    /// Precision of the operands of products
    #[arg(long, value_parser = precision(), default_value_t = Precision::F32)]
    dtype: Precision,
    /// Measured steps, at least 3; one more goes before [default: for about 10 seconds]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

/// What a step is, for the help.
fn mode() -> impl TypedValueParser<Value = Mode> {
    one_of(Mode::ALL.map(|mode| (mode.name(), mode.about())))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let benchmark = Benchmark {
        config: args.config.clone(),
        batch: args.batch,
        size: args.size,
        context_tokens: args.context_tokens,
        mode: args.mode,
        precision: args.dtype,
        steps: args.steps,
    };
    let timings = benchmark.run(context.machine())?;
    if context.json {
        message::json(&timings);
    } else {
        print(&timings);
    }
    Ok(())
}

fn print(report: &Timings) {
    println!(
        "median  {:.2} ms  ({:.2} to {:.2}, {} steps)",
        report.median_ms, report.min_ms, report.max_ms, report.steps
    );
    println!(
        "{:.2} GFLOP a step, {:.1} GFLOP/s, {:.0} % of {:.0} on {} threads ({})",
        report.gflop_per_step,
        report.gflops,
        report.percent_of_peak,
        report.peak_gflops,
        report.threads,
        report.instruction_set
    );
    if let Some(memory) = report.peak_rss_mib {
        println!("peak memory {memory:.0} MiB, {} parameters", report.parameters);
    }
}
