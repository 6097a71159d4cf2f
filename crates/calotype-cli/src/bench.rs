//! `calotype bench`: time and memory of one step of a network, given its `config.json` alone; the page about a machine.

mod system;

use std::path::PathBuf;

use calotype::Result;
use calotype::bench::{Benchmark, Mode, Timings};
use calotype::files::Storage;
use calotype::nn::Precision;
use clap::builder::TypedValueParser;

use crate::message;
use crate::options::{Context, one_of, precision};

#[derive(clap::Args)]
pub struct Args {
    /// `config.json` of a UNet2DConditionModel, a FluxTransformer2DModel, an AutoencoderKL or a CLIPModel
    #[arg(long, value_name = "FILE", required_unless_present = "system")]
    config: Option<PathBuf>,
    /// Samples in a step
    #[arg(long, value_name = "B", required_unless_present = "system")]
    batch: Option<usize>,
    /// Side of the network's input: latents of a denoiser, pictures of an autoencoder or CLIP
    #[arg(long, value_name = "S", required_unless_present = "system")]
    size: Option<usize>,
    /// Tokens of the text, for a denoiser [default: 77] or CLIP [default: as many as it can read]
    #[arg(long, value_name = "L")]
    context_tokens: Option<usize>,
    /// What a step is
    #[arg(long, value_parser = mode(), required_unless_present = "system")]
    mode: Option<Mode>,
    /// Precision of the operands of products
    #[arg(long, value_parser = precision(), default_value_t = Precision::F32)]
    dtype: Precision,
    /// How weights are stored: f32, f16 or bf16 [default: bf16 for a forward pass in bf16, else f32]
    #[arg(long, value_name = "DTYPE")]
    weights: Option<Storage>,
    /// Measured steps, at least 3; one more goes before [default: for about 10 seconds]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Say what this machine can do, and estimate what each recipe will take here
    #[arg(long, conflicts_with_all = ["config", "batch", "size", "context_tokens", "mode", "dtype", "weights", "steps"])]
    system: bool,
    /// Another recipe to estimate (TOML), beside those in the program
    #[arg(long, value_name = "FILE", requires = "system")]
    recipe: Option<PathBuf>,
}

/// What a step is, for the help.
fn mode() -> impl TypedValueParser<Value = Mode> {
    one_of(Mode::ALL.map(|mode| (mode.name(), mode.about())))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    // clap sees to it that either all of these are there or `--system` is.
    let Args { config: Some(config), batch: Some(batch), size: Some(size), mode: Some(mode), .. } = args
    else {
        return system::run(args.recipe.as_deref(), context);
    };
    let benchmark = Benchmark {
        config: config.clone(),
        batch: *batch,
        size: *size,
        context_tokens: args.context_tokens,
        mode: *mode,
        precision: args.dtype,
        weights: args.weights,
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
    let of_peak = match (report.percent_of_peak, report.peak_gflops, &report.instruction_set) {
        (Some(percent), Some(peak), Some(instructions)) => {
            format!(", {percent:.0} % of {peak:.0} on {} threads ({instructions})", report.threads)
        }
        _ => report.device.as_ref().map_or_else(String::new, |device| format!(" on {device}")),
    };
    println!("{:.2} GFLOP a step, {:.1} GFLOP/s{of_peak}", report.gflop_per_step, report.gflops);
    if let Some(memory) = report.device_memory_mib {
        println!("device memory {memory:.0} MiB");
    }
    if let Some(memory) = report.peak_rss_mib {
        println!("peak memory {memory:.0} MiB, {} parameters in {}", report.parameters, report.weights);
    }
}
