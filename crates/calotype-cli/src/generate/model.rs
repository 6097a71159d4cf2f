//! Options that decide which model makes the pictures.

use std::path::PathBuf;

use calotype::checkpoint::{Checkpoint, Lora, find};
use calotype::files::Storage;
use calotype::model::Model;
use calotype::nn::{Compute, Precision};
use calotype::text_encoder::reading::PromptOptions;
use calotype::{Error, Result};

use crate::options::{Context, precision};

/// Options that decide which model makes the pictures.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// Folder in diffusers' layout, single file in the original one, or name on the Hugging Face hub
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub model: Option<PathBuf>,
    /// Take the tokenizer of this folder: for single files whose vocabulary is not OpenAI's
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Merge a LoRA, with a strength (1 is as trained); may be given several times
    #[arg(long, value_name = "FILE:WEIGHT")]
    pub lora: Vec<Lora>,
    /// Learn a word from a textual-inversion file: what it names itself, or its file name; may be given several
    /// times
    #[arg(long, value_name = "FILE")]
    pub embedding: Vec<PathBuf>,
    /// Leave out this many layers at the end of the text encoder (1 is the last but one)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub clip_skip: usize,
    /// Read long prompts in chunks instead of cutting them off at the encoder's length
    #[arg(long)]
    pub long_prompt: bool,
    /// Take (brackets:1.2) in prompts for what they are, not for weights
    #[arg(long)]
    pub plain_prompt: bool,
    /// Decode in overlapping tiles: the memory of a large picture does not grow with it
    #[arg(long)]
    pub vae_tiling: bool,
    /// bf16: weights in half the memory, and products of bf16 numbers where the processor has them; another picture
    #[arg(long, value_parser = precision(), default_value_t = Precision::F32)]
    pub dtype: Precision,
}

impl ModelArgs {
    /// The model with everything that the options do to it.
    pub fn load(&self, context: &Context) -> Result<Model> {
        let Some(model) = &self.model else {
            return Err(Error::argument("--model", "a folder, file or name on the hub", "none"));
        };
        let mut checkpoint = Checkpoint::open(&find(model, &context.bars)?)?;
        if let Some(folder) = &self.tokenizer {
            checkpoint.use_tokenizers(folder)?;
        }
        for Lora { file, weight } in &self.lora {
            let merged = checkpoint.merge_lora(file, *weight)?;
            context.bars.say(&format!("{}: {} layers, weight {weight}", file.display(), merged.layers));
            if let Some(name) = merged.unmatched.first() {
                let count = merged.unmatched.len();
                context
                    .bars
                    .say(&format!("warning: {count} of its tensors have no layer here, `{name}` first"));
            }
        }
        if self.dtype == Precision::Bf16 {
            checkpoint.store_as(Storage::Bf16);
        }
        // Without such instructions the kernels widen the numbers as they read them.
        let compute = Compute::new(&context.device, self.dtype.products());
        let mut model = checkpoint.into_model(&compute)?;
        for file in &self.embedding {
            let word = model.text.learn(file)?;
            context.bars.say(&format!("{}: `{word}`", file.display()));
        }
        Ok(model)
    }
}

impl ModelArgs {
    /// How the prompts are read.
    pub fn prompts(&self) -> PromptOptions {
        PromptOptions { clip_skip: self.clip_skip, chunks: self.long_prompt, plain: self.plain_prompt }
    }
}
