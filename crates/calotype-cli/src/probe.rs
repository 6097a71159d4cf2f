//! `calotype probe`: one network on tensors from a file, as PyTorch's forward takes and gives them.

use std::path::PathBuf;

use calotype::Result;
use calotype::checkpoint::probe::Probe;
use calotype::files::output;
use clap::builder::TypedValueParser;

use crate::options::{Context, one_of};

#[derive(clap::Args)]
pub struct Args {
    /// Model folder, the folder of the one component, or a single file
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// What to run
    #[arg(long, value_parser = probe())]
    component: Probe,
    /// Input tensors (safetensors)
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// Output tensors (safetensors)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// What can be probed, for the help.
fn probe() -> impl TypedValueParser<Value = Probe> {
    one_of(Probe::ALL.map(|probe| (probe.name(), probe.about())))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    output::require_file("output", &args.output)?;
    args.component.run(&args.model, &args.inputs, &args.output, &context.device)
}
