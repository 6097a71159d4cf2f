//! `calotype convert`

use std::path::PathBuf;

use calotype::checkpoint::Checkpoint;
use calotype::files::Storage;
use calotype::{Error, Result};

use crate::generate::{Lora, resolve};
use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Folder in diffusers' layout, single file in the original one, or name on the Hugging Face hub
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// What to write: a single file if it ends in .safetensors, a folder otherwise; must not exist
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Store all weights so: f32, f16 or bf16 [default: as they are]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Storage>,
    /// Take the tokenizer of this folder: for single files whose vocabulary is not OpenAI's
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Merge a LoRA, with a strength (1 is as trained); may be given several times
    #[arg(long, value_name = "FILE:WEIGHT")]
    lora: Vec<Lora>,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.output.exists() {
        return Err(Error::argument("OUT", "a path where nothing is yet", args.output.display()));
    }
    let mut checkpoint = Checkpoint::open(&resolve(&args.input, context)?)?;
    if let Some(folder) = &args.tokenizer {
        checkpoint.use_tokenizers(folder)?;
    }
    let mut layers = 0;
    if !args.lora.is_empty() {
        // Merged in full precision, and rounded once.
        let before = checkpoint.storage();
        checkpoint.store_as(Storage::F32);
        for Lora { file, weight } in &args.lora {
            layers += checkpoint.merge_lora(file, *weight)?.layers;
        }
        checkpoint.store_as(before);
    }
    if let Some(storage) = args.dtype {
        checkpoint.store_as(storage);
    }
    let single = args.output.extension().is_some_and(|extension| extension == "safetensors");
    match single {
        true => checkpoint.write_single_file(&args.output)?,
        false => checkpoint.write_folder(&args.output)?,
    }
    let dtype = checkpoint.storage().to_string();
    let layout = if single { "single file" } else { "folder" };
    match context.json {
        true => message::json(&serde_json::json!({
            "output": args.output, "layout": layout, "dtype": dtype, "lora_layers": layers,
        })),
        false => println!("{}: {layout}, {dtype}", args.output.display()),
    }
    Ok(())
}
