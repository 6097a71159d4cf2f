//! The `calotype` command.

mod data;
mod demo;
mod evaluate;
mod explain;
mod generate;
mod message;
mod options;
mod probe;
mod progress;
mod reconstruct;
mod train;

use clap::{Parser, Subcommand};

use options::Common;

// A pooling allocator: burn allocates a fresh buffer for every tensor (docs/decisions/allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Latent diffusion models: train every part, generate, explain and evaluate.
#[derive(Parser)]
#[command(name = "calotype", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Train all parts on the embedded data, generate, explain, evaluate and write a report
    Demo(demo::Args),
    /// Train one part
    Train(train::Args),
    /// Make pictures from a prompt
    Generate(generate::Args),
    /// Show which word lit which pixel
    Explain(explain::Args),
    /// Compare generated pictures with reference pictures
    Evaluate(evaluate::Args),
    /// Send pictures through the autoencoder and back
    Reconstruct(reconstruct::Args),
    /// Render and inspect data
    Data(data::Args),
    /// Run one network on tensors from a file
    Probe(probe::Args),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result = options::Context::new(&cli.common).and_then(|context| match cli.verb {
        Verb::Demo(args) => demo::run(&args, &context),
        Verb::Train(args) => train::run(&args, &context),
        Verb::Generate(args) => generate::run(&args, &context),
        Verb::Explain(args) => explain::run(&args, &context),
        Verb::Evaluate(args) => evaluate::run(&args, &context),
        Verb::Reconstruct(args) => reconstruct::run(&args, &context),
        Verb::Data(args) => data::run(&args, &context),
        Verb::Probe(args) => probe::run(&args, &context),
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => message::fail(&error),
    }
}
