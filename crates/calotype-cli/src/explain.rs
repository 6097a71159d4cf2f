//! `calotype explain`: which word lit which pixel.

use std::path::PathBuf;

use calotype::Result;
use calotype::explain::explain;
use calotype::explain::files::require_words;
use calotype::explain::heat_map::Baseline;
use calotype::files::{atomic, output};
use calotype::pipeline::{Generation, Request};

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
    require_words(&model, &request, &args.words)?;
    let Generation { pictures, sampling, initial, warnings, .. } = request.prepare(&model, 1)?;
    message::warnings(&warnings, context);
    let baseline = if args.absolute { Baseline::Zero } else { Baseline::WordMean };
    let explanation = explain(&model, &pictures, &sampling, initial, baseline)?.swap_remove(0);
    let maps = explanation.write(&args.out, &args.words)?;
    let value = serde_json::json!({ "prompt": args.prompt, "seed": sampling.seed, "words": maps });
    atomic::write_json(&args.out.join("heat_maps.json"), &value)?;
    if context.json {
        message::json(&value);
    }
    Ok(())
}
