//! `calotype bench`: time and memory of one step of a network, given its `config.json` alone.

mod networks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use calotype::files::atomic;
use calotype::trainer::preflight::peak_bytes;
use calotype::{Error, Result};
use calotype_kernels::{Isa, peak};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use self::networks::Bench;
use crate::message;
use crate::options::{Context, Dtype};

/// What a step is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Forward, loss, backward, AdamW with clipping and moving average
    Train,
    /// Forward only, as in sampling
    Forward,
}

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
    #[arg(long, value_enum)]
    mode: Mode,
    /// Precision of the operands of products
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Measured steps, at least 3; one more goes before [default: for about 10 seconds]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Timings {
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    steps: usize,
    steps_per_second: f64,
    gflop_per_step: f64,
    gflops: f64,
    percent_of_peak: f64,
    peak_gflops: f64,
    peak_rss_mib: Option<f64>,
    parameters: usize,
    mode: Mode,
    dtype: Dtype,
    batch: usize,
    size: usize,
    threads: usize,
    instruction_set: String,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    for (name, value) in
        [("--batch", args.batch), ("--size", args.size), ("--context-tokens", args.context_tokens)]
    {
        if value == 0 || value > 1 << 16 {
            return Err(Error::argument(name, "1 to 65536", value));
        }
    }
    if args.steps.is_some_and(|steps| steps < 3) {
        return Err(Error::argument("--steps", "at least 3", args.steps.unwrap_or(0)));
    }
    let isa = Isa::of(args.dtype.required()?);
    let mut bench = load(&args.config, args, context)?;
    let peak_gflops = peak::gflops(isa, context.threads);
    let times = times(bench.as_mut(), args)?;
    let report = report(args, context, bench.as_ref(), peak_gflops, times)?;
    match context.json {
        true => message::json(&report),
        false => print(&report),
    }
    Ok(())
}

fn load(path: &Path, args: &Args, context: &Context) -> Result<Box<dyn Bench>> {
    let value: Value = atomic::read_json(path)?;
    let class = value.get("_class_name").and_then(Value::as_str).unwrap_or("");
    match class {
        "UNet2DConditionModel" => networks::unet(&atomic::read_json(path)?, args, context),
        "AutoencoderKL" => networks::autoencoder(&atomic::read_json(path)?, args, context),
        other => {
            let expected = "UNet2DConditionModel or AutoencoderKL";
            Err(Error::config(path, "_class_name", expected, format!("`{other}`")))
        }
    }
}

/// Milliseconds of each measured step, sorted.
fn times(bench: &mut dyn Bench, args: &Args) -> Result<Vec<f64>> {
    const BUDGET: Duration = Duration::from_secs(10);
    bench.step(args.mode)?;
    let begin = Instant::now();
    let mut times = Vec::new();
    loop {
        let enough = match args.steps {
            Some(steps) => times.len() == steps,
            None => times.len() >= 5 && begin.elapsed() > BUDGET,
        };
        if enough {
            times.sort_by(f64::total_cmp);
            return Ok(times);
        }
        let start = Instant::now();
        bench.step(args.mode)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
}

fn report(
    args: &Args,
    context: &Context,
    bench: &dyn Bench,
    peak_gflops: f64,
    times: Vec<f64>,
) -> Result<Timings> {
    let middle = times.len() / 2;
    let median_ms =
        if times.len().is_multiple_of(2) { (times[middle - 1] + times[middle]) / 2.0 } else { times[middle] };
    // Before the arithmetic is counted, which is a pass of its own.
    let peak_rss_mib = peak_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20));
    let forward = bench.gflop()?;
    // The gradients of a product are two products of the same size.
    let gflop_per_step = if args.mode == Mode::Train { 3.0 * forward } else { forward };
    let gflops = gflop_per_step / (median_ms * 1e-3);
    Ok(Timings {
        median_ms,
        min_ms: times[0],
        max_ms: times[times.len() - 1],
        steps: times.len(),
        steps_per_second: 1e3 / median_ms,
        gflop_per_step,
        gflops,
        percent_of_peak: 100.0 * gflops / peak_gflops,
        peak_gflops,
        peak_rss_mib,
        parameters: bench.parameters(),
        mode: args.mode,
        dtype: args.dtype,
        batch: args.batch,
        size: args.size,
        threads: context.threads,
        instruction_set: format!("{:?}", Isa::of(args.dtype.products())).to_lowercase(),
    })
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
