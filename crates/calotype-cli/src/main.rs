//! The `calotype` command: its verbs, and its exit code.
#![warn(clippy::match_bool, clippy::todo, clippy::unimplemented)]

mod bench;
mod convert;
mod data;
mod demo;
mod device_failure;
mod edit;
mod evaluate;
mod explain;
mod generate;
mod message;
mod options;
mod probe;
mod progress;
mod ranks;
mod reconstruct;
mod runs;
mod self_test;
mod serve;
mod sweep;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use calotype::{Error, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

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
    /// Train and measure variants of a recipe, side by side; what they have in common once
    Sweep(sweep::Args),
    /// List, compare and plot runs
    Runs(runs::Args),
    /// Make pictures from a prompt
    Generate(generate::Args),
    /// Show which word lit which pixel
    Explain(explain::Args),
    /// Change a picture by its prompt: a word exchanged, added, left out or weighed
    Edit(edit::Args),
    /// Compare generated pictures with reference pictures
    Evaluate(evaluate::Args),
    /// Send pictures through the autoencoder and back
    Reconstruct(reconstruct::Args),
    /// Render and inspect data
    Data(data::Args),
    /// Rewrite a model: folder or single file, another dtype, LoRAs merged
    Convert(convert::Args),
    /// Run one network on tensors from a file
    Probe(probe::Args),
    /// Time a network, given its config.json; or say what this machine can do and what each recipe will take here
    Bench(bench::Args),
    /// Compute golden cases and compare them with what must come out
    SelfTest(self_test::Args),
    /// Answer over HTTP: a page for people, and the APIs that clients of stable-diffusion-webui and OpenAI know
    Serve(serve::Args),
}

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return fail(error),
    };
    let result = options::Context::new(&cli.common).and_then(|context| {
        device_failure::ends_the_program(&context);
        match cli.verb {
            // It waits: what computes is a thread of its own.
            Verb::Serve(args) => serve::run(&args, &context).map(|()| true),
            // In a thread of the pool: from outside, each kernel would wake the pool and wait for it to sleep again.
            verb => rayon::scope(|_| run(verb, &context)),
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(error),
    }
}

/// Says what went wrong. 2 is bad usage, as where clap refuses it; all else is 1.
fn fail(error: Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::Argument => 2,
        ErrorKind::Data | ErrorKind::System | ErrorKind::Interrupted | ErrorKind::Diverged => 1,
    };
    message::error(error, Cli::command());
    ExitCode::from(code)
}

/// The command line; where it repeats the run of a picture, with the picture's options before the user's.
fn parse() -> calotype::Result<Cli> {
    let cli = Cli::parse();
    let Verb::Generate(args) = &cli.verb else { return Ok(cli) };
    let Some(picture) = args.repeats() else { return Ok(cli) };
    let recorded = generate::recorded_arguments(picture)?;
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    // The verb is there: it has just been parsed.
    let after_verb = 1 + arguments.iter().position(|argument| argument == "generate").unwrap_or(0);
    arguments.splice(after_verb..after_verb, recorded);
    Ok(Cli::parse_from(arguments))
}

/// Whether all is well; false where golden cases differ.
fn run(verb: Verb, context: &options::Context) -> calotype::Result<bool> {
    let done = |()| true;
    match verb {
        Verb::Demo(args) => demo::run(&args, context).map(done),
        Verb::Train(args) => train::run(&args, context).map(done),
        Verb::Sweep(args) => sweep::run(&args, context).map(done),
        Verb::Runs(args) => runs::run(&args, context).map(done),
        Verb::Generate(args) => generate::run(&args, context).map(done),
        Verb::Explain(args) => explain::run(&args, context).map(done),
        Verb::Edit(args) => edit::run(&args, context).map(done),
        Verb::Evaluate(args) => evaluate::run(&args, context).map(done),
        Verb::Reconstruct(args) => reconstruct::run(&args, context).map(done),
        Verb::Data(args) => data::run(&args, context).map(done),
        Verb::Convert(args) => convert::run(&args, context).map(done),
        Verb::Probe(args) => probe::run(&args, context).map(done),
        Verb::Bench(args) => bench::run(&args, context).map(done),
        Verb::SelfTest(args) => self_test::run(&args, context),
        Verb::Serve(args) => serve::run(&args, context).map(done),
    }
}
