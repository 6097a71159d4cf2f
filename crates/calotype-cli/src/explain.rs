//! `calotype explain`: which word lit which pixel.

use std::ops::ControlFlow;
use std::path::PathBuf;

use calotype::Result;
use calotype::explain::explain_selected;
use calotype::explain::files::require_words;
use calotype::explain::heat_map::Baseline;
use calotype::explain::selection::{Layers, Selection};
use calotype::files::{atomic, output};
use calotype::pipeline::{Generation, Request};
use calotype::progress::Progress;

use crate::generate::{ModelArgs, SamplingArgs};
use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Words to show, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    words: Vec<String>,
    /// Show each word's attention as it is, not what it has more than the other words
    #[arg(long)]
    absolute: bool,
    /// Average these layers alone, by the size of their grid: 16x16, or several separated by commas
    #[arg(long, default_value_t = Layers::All, value_name = "all|WxH")]
    layers: Layers,
    /// Average from this step of the sampler on, counted from 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    steps_from: usize,
    /// Average the steps before this one [default: all to the last]
    #[arg(long, value_name = "N")]
    steps_to: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Folder for picture.png, one overlay for each word, and heat_maps.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    output::require_folder("out", &args.out)?;
    let request = Request { prompt: args.prompt.clone(), ..Request::default() };
    let request = args.sampling.of(args.model.of(request));
    let model = request.load(context.machine())?;
    let Generation { pictures, sampling, initial, warnings, .. } = request.prepare(&model, 1)?;
    for picture in &pictures {
        require_words(&model, picture, &sampling, &args.words)?;
    }
    message::warnings(&warnings, context);
    let baseline = if args.absolute { Baseline::Zero } else { Baseline::WordMean };
    let selection = Selection { layers: args.layers.clone(), from: args.steps_from, to: args.steps_to };
    let steps = sampling.sampler.steps;
    context.bars.begin("explaining", 0, steps);
    let on_step = &mut |done, _| {
        context.bars.step(done, "");
        ControlFlow::Continue(())
    };
    let explanations =
        explain_selected(&model, &pictures, &sampling, initial, (baseline, &selection), on_step)?;
    context.bars.end("explaining");
    let Some(explanation) = explanations.first() else { return Ok(()) };
    let maps = explanation.write(&args.out, &args.words)?;
    let value = serde_json::json!({ "prompt": args.prompt, "seed": sampling.seed, "words": maps,
        "layers": args.layers.to_string(), "steps": [args.steps_from, args.steps_to.unwrap_or(steps)],
    });
    atomic::write_json(&args.out.join("heat_maps.json"), &value)?;
    if context.json {
        message::json(&value);
    }
    Ok(())
}
