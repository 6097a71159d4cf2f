//! Everything that may be asked of a generation: one definition of its settings and their names.
//!
//! It serves command lines, servers, and what a picture records.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::checkpoint::WeightedLora;
use crate::diffusion::SigmaSpacing;
use crate::nn::Precision;
use crate::sampler::{Compat, Generator, SamplerKind};
use crate::text_encoder::reading::PromptOptions;

/// What is asked of a generation. What is `None` is the model's own value, or the usual one:
/// [`Request::prepare`] fills it in.
///
/// As JSON, an object with the fields' names in kebab-case, of which any may be missing; `prompt` may also be called
/// `recorded-prompt`, as in the records of pictures.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Request {
    /// What the picture should show.
    #[serde(rename = "recorded-prompt", alias = "prompt")]
    pub prompt: String,
    /// What guidance points away from.
    pub negative: Option<String>,
    /// Folder in diffusers' layout, single file in the original one, or name on the Hugging Face hub.
    pub model: Option<PathBuf>,
    /// Folder whose tokenizer is taken in place of the model's; a model folder's are taken all.
    pub tokenizer: Option<PathBuf>,
    /// Folder whose tokenizer is the second text encoder's, in place of the model's.
    pub tokenizer_2: Option<PathBuf>,
    /// Folder or file whose transformer is taken in place of the model's denoiser.
    pub transformer: Option<PathBuf>,
    /// Folder or file whose autoencoder is taken in place of the model's.
    pub vae: Option<PathBuf>,
    /// Folder or file whose (first) text encoder is taken in place of the model's.
    pub text_encoder: Option<PathBuf>,
    /// Folder or file whose second text encoder is taken in place of the model's.
    pub text_encoder_2: Option<PathBuf>,
    /// LoRAs that are merged into the model.
    pub lora: Vec<WeightedLora>,
    /// Folder with the LoRAs that tags of the prompt name (`<lora:name:0.8>`).
    pub lora_dir: Option<PathBuf>,
    /// Textual-inversion files, each with a word that the model learns.
    pub embedding: Vec<PathBuf>,
    /// Layers left out at the end of the text encoder.
    pub clip_skip: usize,
    /// Read long prompts in chunks instead of cutting them off.
    pub long_prompt: bool,
    /// Take brackets, AND and tags in prompts for what they are: text.
    pub plain_prompt: bool,
    /// Decode in overlapping tiles.
    pub vae_tiling: bool,
    /// Leave the weights in the host's memory, for a device that has no room for them: each layer takes its own while it
    /// computes. Means nothing on the CPU.
    pub offload: bool,
    /// Precision of the model's weights and products.
    pub dtype: Precision,
    /// Number of the first picture under the seed.
    pub first: u64,
    /// Seed of the noise; 0 by default.
    pub seed: Option<u64>,
    /// What the seed is for.
    pub rng: Option<Generator>,
    /// Steps of the sampler; the model's by default.
    pub steps: Option<usize>,
    /// Formula of the steps; by default as the model's `scheduler_config.json` says.
    pub sampler: Option<SamplerKind>,
    /// DDIM's η.
    pub eta: f64,
    /// Spacing of the noise levels; by default the model's.
    pub schedule: Option<SigmaSpacing>,
    /// Whose results to repeat where ours differ on purpose.
    pub compat: Option<Compat>,
    /// Guidance scale; 1 is off. By default the model's.
    pub guidance: Option<f64>,
    /// Scale of classifier-free guidance, away from a negative prompt, for models that are told or have a guidance of
    /// their own (Flux); off by default.
    pub true_cfg: Option<f64>,
    /// φ of the guidance's rescaling, in [0, 1]; 0 is off.
    pub guidance_rescale: f64,
    /// Noise levels between which guidance is on; all by default.
    pub guidance_interval: Option<SigmaInterval>,
    /// Width in pixels; by default the initial picture's or the model's.
    pub width: Option<usize>,
    /// Height in pixels; by default the initial picture's or the model's.
    pub height: Option<usize>,
    /// Safetensors file whose tensor `latents` is the unit noise to start from.
    pub init_latents: Option<PathBuf>,
    /// Picture to begin with.
    pub init_image: Option<PathBuf>,
    /// Share of the steps that change the initial picture, in (0, 1]; by default 0.8, with Flux 0.6, with a mask 1.
    pub strength: Option<f64>,
    /// Picture whose white part alone is painted; needs an initial picture.
    pub mask: Option<PathBuf>,
    /// Picture that the network is shown: what Kontext changes, what Depth and Canny follow.
    pub reference: Option<PathBuf>,
}

impl Request {
    /// The names of all settings, in order.
    pub fn names() -> Vec<String> {
        object(&Self::default()).into_iter().map(|(name, _)| name).collect()
    }

    /// Every setting that has a value, by name.
    pub fn settings(&self) -> Map<String, Value> {
        let mut settings = object(self);
        settings.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
        settings
    }

    /// How the prompts are read.
    pub fn prompts(&self) -> PromptOptions {
        PromptOptions { clip_skip: self.clip_skip, chunks: self.long_prompt, plain: self.plain_prompt }
    }
}

fn object(request: &Request) -> Map<String, Value> {
    match json!(request) {
        Value::Object(settings) => settings,
        _ => Map::new(),
    }
}

/// Two noise levels σ, the lower first; as text `LOW,HIGH`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigmaInterval {
    /// At least 0.
    pub low: f64,
    /// Above `low`.
    pub high: f64,
}

impl FromStr for SigmaInterval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text.split_once(',').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match pair {
            Some((low, high)) if 0.0 <= low && low < high => Ok(Self { low, high }),
            _ => Err("expected two noise levels, the lower first"),
        }
    }
}

impl TryFrom<String> for SigmaInterval {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SigmaInterval> for String {
    fn from(SigmaInterval { low, high }: SigmaInterval) -> Self {
        format!("{low},{high}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_json_and_back() {
        let text = r#"{"prompt": "a cat", "steps": 20, "sampler": "dpm++2m", "lora": ["a.safetensors:0.5"],
                       "guidance-interval": "0.3,5", "rng": "torch-cpu", "dtype": "bf16"}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(
            (request.prompt.as_str(), request.steps, request.dtype),
            ("a cat", Some(20), Precision::Bf16)
        );
        let settings = request.settings();
        assert_eq!(settings["lora"], json!(["a.safetensors:0.5"]));
        assert_eq!(settings["guidance-interval"], "0.3,5");
        assert!(!settings.contains_key("embedding") && !settings.contains_key("mask"), "{settings:?}");
        assert_eq!(serde_json::from_value::<Request>(Value::Object(settings)).unwrap(), request);
        assert_eq!(Request::names().len(), 37);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for (text, named) in [
            (r#"{"out": "x.png"}"#, "`out`"),
            (r#"{"sampler": "magic"}"#, "`magic`"),
            (r#"{"guidance-interval": "5,1"}"#, "two noise levels, the lower first"),
        ] {
            let error = serde_json::from_str::<Request>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
