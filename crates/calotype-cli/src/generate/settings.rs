//! Options of `generate`, `explain` and `edit`: which model makes the pictures, and how they are sampled.

use std::path::PathBuf;

use calotype::checkpoint::{WeightedLora, released};
use calotype::diffusion::SigmaSpacing;
use calotype::nn::Precision;
use calotype::pipeline::Request;
use calotype::pipeline::request::SigmaInterval;
use calotype::sampler::{Compat, Generator, SamplerKind};

use crate::options::precision;

/// Options that decide which model makes the pictures.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// Folder in diffusers' layout, single file in the original one, name on the Hugging Face hub, or the small model
    /// that comes with the program
    #[arg(long, default_value = released::NAME, value_name = "DIR|FILE|NAME")]
    pub model: PathBuf,
    /// Take the tokenizer of this folder: for single files whose vocabulary is not OpenAI's
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Take the second text encoder's tokenizer of this folder: T5's `spiece.model` or `tokenizer.json`
    #[arg(long, value_name = "DIR")]
    pub tokenizer_2: Option<PathBuf>,
    /// Take the transformer of this folder or file in place of the model's: safetensors or GGUF
    #[arg(long, value_name = "DIR|FILE")]
    pub transformer: Option<PathBuf>,
    /// Take the autoencoder of this folder or file in place of the model's
    #[arg(long, value_name = "DIR|FILE")]
    pub vae: Option<PathBuf>,
    /// Take the (first) text encoder of this folder or file in place of the model's
    #[arg(long, value_name = "DIR|FILE")]
    pub text_encoder: Option<PathBuf>,
    /// Take the second text encoder of this folder or file in place of the model's: T5 as safetensors or GGUF
    #[arg(long, value_name = "DIR|FILE")]
    pub text_encoder_2: Option<PathBuf>,
    /// Merge a LoRA for Stable Diffusion or Flux.1, with a strength (1 is as trained); may be given several times
    #[arg(long, value_name = "FILE:WEIGHT")]
    pub lora: Vec<WeightedLora>,
    /// Merge the LoRAs that the prompt names, <lora:name:0.8>, from the files of this folder
    #[arg(long, value_name = "DIR")]
    pub lora_dir: Option<PathBuf>,
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
    /// Take (brackets:1.2), [from:to:0.5], [a|b], AND and <lora:name:1> in prompts for what they are: text
    #[arg(long)]
    pub plain_prompt: bool,
    /// Decode in overlapping tiles: the memory of a large picture does not grow with it
    #[arg(long)]
    pub vae_tiling: bool,
    /// Leave the weights in the host's memory, for a GPU that has no room for them: each layer's go there while it computes
    #[arg(long)]
    pub offload: bool,
    /// bf16: weights in half the memory, and products of bf16 numbers where the device has them; another picture
    #[arg(long, value_parser = precision(), default_value_t = Precision::F32)]
    pub dtype: Precision,
}

impl ModelArgs {
    /// The request with this model.
    pub fn of(&self, request: Request) -> Request {
        Request {
            model: Some(self.model.clone()),
            tokenizer: self.tokenizer.clone(),
            tokenizer_2: self.tokenizer_2.clone(),
            transformer: self.transformer.clone(),
            vae: self.vae.clone(),
            text_encoder: self.text_encoder.clone(),
            text_encoder_2: self.text_encoder_2.clone(),
            lora: self.lora.clone(),
            lora_dir: self.lora_dir.clone(),
            embedding: self.embedding.clone(),
            clip_skip: self.clip_skip,
            long_prompt: self.long_prompt,
            plain_prompt: self.plain_prompt,
            vae_tiling: self.vae_tiling,
            offload: self.offload,
            dtype: self.dtype,
            ..request
        }
    }
}

/// Options that decide how a picture is sampled.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// Steps of the sampler [default: 30; of Flux's dev 28, schnell 4, Fill 50]
    #[arg(long)]
    pub steps: Option<usize>,
    #[arg(long, help = sampler_help())]
    pub sampler: Option<SamplerKind>,
    /// DDIM's eta: 0 is deterministic, 1 is DDPM
    #[arg(long, default_value_t = 0.0)]
    pub eta: f64,
    #[arg(long, help = schedule_help())]
    pub schedule: Option<SigmaSpacing>,
    /// Repeat the results of another library where ours differ on purpose: diffusers
    #[arg(long, value_name = "LIBRARY")]
    pub compat: Option<Compat>,
    /// Guidance scale; 1 is off [default: 7.5 for models with OpenAI's vocabulary, 3 for others; of Flux, which is told
    /// the scale, 3.5, of Fill 30; schnell has none]
    #[arg(long)]
    pub guidance: Option<f64>,
    /// Keep the spread of the prediction for the prompt, against over-exposure: 0 (off) to 1
    #[arg(long, default_value_t = 0.0, value_name = "PHI")]
    pub guidance_rescale: f64,
    /// Guide only between two noise levels sigma, for instance 0.3,5
    #[arg(long, value_name = "LOW,HIGH")]
    pub guidance_interval: Option<SigmaInterval>,
    /// Seed of the noise: the same seed, the same picture [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    #[arg(long, help = rng_help(), value_name = "NAME")]
    pub rng: Option<Generator>,
    /// Width in pixels [default: the model's]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(long)]
    pub height: Option<usize>,
    /// Start from the tensor `latents` of a safetensors file (unit noise)
    #[arg(long, value_name = "FILE")]
    pub init_latents: Option<PathBuf>,
}

fn sampler_help() -> String {
    format!("Sampler: {} [default: as the model's scheduler_config.json says]", SamplerKind::names())
}

fn schedule_help() -> String {
    format!("Noise levels, for samplers in sigma: {} [default: the model's]", SigmaSpacing::names())
}

fn rng_help() -> String {
    format!(
        "What the seed is for: {}. PyTorch's give the pictures that diffusers gives [default: philox]",
        Generator::names()
    )
}

impl SamplingArgs {
    /// The request sampled so.
    pub fn of(&self, request: Request) -> Request {
        Request {
            steps: self.steps,
            sampler: self.sampler,
            eta: self.eta,
            schedule: self.schedule,
            compat: self.compat,
            guidance: self.guidance,
            guidance_rescale: self.guidance_rescale,
            guidance_interval: self.guidance_interval,
            seed: self.seed,
            rng: self.rng,
            width: self.width,
            height: self.height,
            init_latents: self.init_latents.clone(),
            ..request
        }
    }
}
