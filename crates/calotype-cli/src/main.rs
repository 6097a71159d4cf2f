//! The `calotype` command.

mod bench;
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
mod self_test;
mod train;

use std::process::ExitCode;

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
    /// Time a network, given its config.json
    Bench(bench::Args),
    /// Compute golden cases and compare them with what must come out
    SelfTest(self_test::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = options::Context::new(&cli.common).and_then(|context| {
        // In a thread of the pool: from outside, each kernel would wake the pool and wait for it to sleep again.
        rayon::scope(|_| run(cli.verb, &context))
    });
    match result {
        Ok(code) => code,
        Err(error) => message::fail(&error),
    }
}

fn run(verb: Verb, context: &options::Context) -> calotype::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match verb {
        Verb::Demo(args) => demo::run(&args, context).map(done),
        Verb::Train(args) => train::run(&args, context).map(done),
        Verb::Generate(args) => generate::run(&args, context).map(done),
        Verb::Explain(args) => explain::run(&args, context).map(done),
        Verb::Evaluate(args) => evaluate::run(&args, context).map(done),
        Verb::Reconstruct(args) => reconstruct::run(&args, context).map(done),
        Verb::Data(args) => data::run(&args, context).map(done),
        Verb::Probe(args) => probe::run(&args, context).map(done),
        Verb::Bench(args) => bench::run(&args, context).map(done),
        Verb::SelfTest(args) => self_test::run(&args, context),
    }
}
