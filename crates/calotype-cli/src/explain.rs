//! `calotype explain`

use std::path::PathBuf;

use calotype::explain::explain;
use calotype::explain::heat_map::Baseline;
use calotype::explain::overlay::overlay;
use calotype::files::{atomic, png};
use calotype::pipeline::text_to_image::{Request, Sampling};
use calotype::{Error, Result};

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
    let model = args.model.load(context)?;
    let sampling = Sampling { prompts: args.model.prompts(), ..args.sampling.sampling(&model, None)? };
    let reading = model.text.read(&args.prompt, sampling.prompts)?;
    let known: Vec<String> = reading.words.into_iter().map(|word| word.word).collect();
    if known.is_empty() {
        return Err(Error::argument("prompt", "at least one word", format!("`{}`", args.prompt)));
    }
    if let Some(word) = args.words.iter().find(|word| !known.contains(&word.to_lowercase())) {
        return Err(Error::argument("--words", format!("words of the prompt: {}", known.join(", ")), word));
    }
    let requests = [Request::new(&args.prompt, args.sampling.guidance(&model)?, 0)];
    let initial = args.sampling.initial(&model, requests.len(), &sampling)?;
    let baseline = if args.absolute { Baseline::Zero } else { Baseline::WordMean };
    let mut explanations = explain(&model, &requests, &sampling, initial, baseline)?;
    let explanation = explanations.swap_remove(0);

    png::write(&args.out.join("picture.png"), &explanation.image)?;
    let wanted = |word: &str| args.words.is_empty() || args.words.iter().any(|w| w.to_lowercase() == word);
    let mut maps = Vec::new();
    for (i, map) in explanation.maps.iter().enumerate().filter(|(_, map)| wanted(&map.word)) {
        let file = format!("{i:02}-{}.png", file_name(&map.word));
        png::write(&args.out.join(&file), &overlay(&explanation.image, map)?)?;
        maps.push(serde_json::json!({
            "word": map.word, "overlay": file, "width": map.width, "height": map.height, "values": map.values,
        }));
    }
    let value = serde_json::json!({ "prompt": args.prompt, "seed": sampling.seed, "words": maps });
    atomic::write_json(&args.out.join("heat_maps.json"), &value)?;
    if context.json {
        message::json(&value);
    }
    Ok(())
}

/// The word's letters and digits; a prompt may hold what a file name may not.
fn file_name(word: &str) -> String {
    word.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}
