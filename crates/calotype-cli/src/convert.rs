//! `calotype convert`: a model in another layout, another dtype, with LoRAs merged.

use std::path::PathBuf;

use calotype::checkpoint::lora::bundle::BundledWord;
use calotype::checkpoint::{Checkpoint, WeightedLora, find};
use calotype::files::gguf::TensorType;
use calotype::files::output;
use calotype::{Error, Result};

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Folder in diffusers' layout, single file in the original one, name on the hub, or Flux.1's transformer or T5's
    /// encoder alone
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// What to write: a single file if it ends in .safetensors, GGUF if in .gguf (of Flux.1's transformer or T5's
    /// encoder), a folder otherwise; must not exist
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Store all weights so: f32, f16 or bf16; in GGUF q8_0, q6_k, q5_k, q4_k or q4_0 too [default: as they are]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<TensorType>,
    /// Take the tokenizer of this folder: for single files whose vocabulary is not OpenAI's
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Merge a LoRA for Stable Diffusion or Flux.1, with a strength (1 is as trained); may be given several times
    #[arg(long, value_name = "FILE:WEIGHT")]
    lora: Vec<WeightedLora>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.output.exists() {
        return Err(Error::argument("OUT", "a path where nothing is yet", args.output.display()));
    }
    output::require_file("OUT", &args.output)?;
    let mut checkpoint = Checkpoint::open_part(&find(&args.input, &context.bars)?)?;
    let notes = checkpoint.notes(None);
    if let Some(folder) = &args.tokenizer {
        checkpoint.use_tokenizers(folder)?;
    }
    let merged = checkpoint.merge_loras(&args.lora)?;
    for (lora, merged) in args.lora.iter().zip(&merged) {
        merged.warning().iter().for_each(|warning| context.bars.say(warning));
        for BundledWord { word, .. } in &merged.words {
            let file = lora.file.display();
            let why = "no model's files have a place for it (generate learns it with --lora)";
            context.bars.say(&format!("warning: the word `{word}` in {file} is left out: {why}"));
        }
    }
    let written = checkpoint.write_as(&args.output, args.dtype)?;
    notes.iter().for_each(|note| context.bars.say(note));
    if !written.left.is_empty() {
        let left: Vec<&str> = written.left.iter().map(|kind| kind.folder()).collect();
        let what =
            format!("{} has the transformer alone, without {}", args.output.display(), left.join(", "));
        context.bars.say(&what);
    }
    let (layout, dtype) = (written.layout.name(), written.dtype.to_string());
    if context.json {
        let layers: usize = merged.iter().map(|merged| merged.layers).sum();
        message::json(&serde_json::json!({
            "output": args.output, "layout": layout, "dtype": dtype, "lora_layers": layers,
        }));
    } else {
        println!("{}: {layout}, {dtype}", args.output.display());
    }
    Ok(())
}
