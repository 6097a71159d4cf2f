//! What a PNG records about the generation that made it, and the request again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::generation::Generation;
use super::generation_parameters::GenerationParameters;
use super::request::Request;
use crate::checkpoint::WeightedLora;
use crate::error::{Error, Result};
use crate::files::{atomic, png_text};
use crate::sampler::Generator;

/// The text with our settings.
const KEYWORD: &str = "calotype";

impl Generation {
    /// The texts of picture `index` by keyword: `parameters`, which other programs read, and ours, which repeats the
    /// generation: every setting with the value that it had, the model's own included.
    pub fn record(&self, index: usize) -> Vec<(&'static str, String)> {
        let first = self.pictures[index].image_index;
        let request = with_absolute_paths(Request { first, ..self.request.clone() });
        let ours = json!({ "version": env!("CARGO_PKG_VERSION"), "options": request.settings() });
        vec![("parameters", self.parameters(index).to_string()), (KEYWORD, ours.to_string())]
    }

    fn parameters(&self, index: usize) -> GenerationParameters {
        let (picture, request) = (&self.pictures[index], &self.request);
        let mut fields = self.sampler_fields();
        fields.extend([
            ("CFG scale", picture.guidance.scale.to_string()),
            ("Seed", self.seed_of(picture.image_index).to_string()),
            ("Size", format!("{}x{}", self.sampling.width, self.sampling.height)),
        ]);
        let stem = request.model.as_deref().and_then(Path::file_stem);
        fields.extend(stem.map(|stem| ("Model", stem.to_string_lossy().into_owned())));
        fields.extend(request.strength.map(|strength| ("Denoising strength", strength.to_string())));
        if request.clip_skip > 0 {
            // It counts the last layer as 1.
            fields.push(("Clip skip", (request.clip_skip + 1).to_string()));
        }
        let generator = self.sampling.generator;
        let rng = match generator {
            Generator::Philox => "calotype",
            Generator::TorchCpu => "CPU",
            Generator::TorchCuda => "NV",
        };
        fields.push(("RNG", rng.to_owned()));
        if generator == Generator::Philox && picture.image_index > 0 {
            fields.push(("Picture", picture.image_index.to_string()));
        }
        fields.push(("Version", format!("calotype {}", env!("CARGO_PKG_VERSION"))));
        GenerationParameters {
            // With the tags of its LoRAs, as webui records it.
            prompt: request.prompt.clone(),
            negative_prompt: picture.negative_prompt.clone().unwrap_or_default(),
            fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }

    fn sampler_fields(&self) -> Vec<(&'static str, String)> {
        let sampler = &self.sampling.sampler;
        let mut fields =
            vec![("Steps", sampler.steps.to_string()), ("Sampler", sampler.kind.label().to_owned())];
        if let Some(schedule) = sampler.schedule {
            let name = schedule.name();
            fields.push(("Schedule type", name[..1].to_uppercase() + &name[1..]));
        }
        fields
    }

    /// stable-diffusion-webui numbers its pictures by seeds; ours have a number beside the seed.
    fn seed_of(&self, image_index: u64) -> u64 {
        match self.sampling.generator {
            Generator::Philox => self.sampling.seed,
            Generator::TorchCpu | Generator::TorchCuda => self.sampling.seed.wrapping_add(image_index),
        }
    }
}

/// The same files from whichever folder the request is repeated. What is no file is a name on the hub.
fn with_absolute_paths(request: Request) -> Request {
    let absolute = |path: PathBuf| {
        let absolute = if path.exists() { std::path::absolute(&path).unwrap_or(path) } else { path };
        PathBuf::from(absolute.display().to_string())
    };
    Request {
        model: request.model.map(absolute),
        tokenizer: request.tokenizer.map(absolute),
        lora: request
            .lora
            .into_iter()
            .map(|lora| WeightedLora { file: absolute(lora.file), ..lora })
            .collect(),
        lora_dir: request.lora_dir.map(absolute),
        embedding: request.embedding.into_iter().map(absolute).collect(),
        init_latents: request.init_latents.map(absolute),
        init_image: request.init_image.map(absolute),
        mask: request.mask.map(absolute),
        ..request
    }
}

/// The request that a picture records. It names nothing that would be written.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a file that is no PNG, has no record, or one with unknown settings.
pub fn read(path: &Path) -> Result<Request> {
    of_png(&atomic::read(path)?, path)
}

/// [`read`] of the bytes of a PNG; `path` is for messages, and need not be a file.
///
/// # Errors
/// As [`read`], but `Error::Io`.
pub fn of_png(png: &[u8], path: &Path) -> Result<Request> {
    const FORMAT: &str = "PNG with the record of a run";
    let failed = |reason: String| Error::format(path, FORMAT, reason);
    let texts = png_text::read(png).map_err(failed)?;
    let Some((_, text)) = texts.into_iter().find(|(keyword, _)| keyword == KEYWORD) else {
        return Err(failed(format!("it has no text chunk `{KEYWORD}`: was it made by `calotype generate`?")));
    };
    let record: Value = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    let options = record["options"].as_object().ok_or_else(|| failed("its record has no options".into()))?;
    let names = Request::names();
    if let Some(name) = options.keys().find(|name| !names.contains(name)) {
        return Err(failed(format!("its record has an option `{name}` that a picture may not set")));
    }
    serde_json::from_value(Value::Object(options.clone())).map_err(|e| failed(e.to_string()))
}
