//! What a PNG records about the run that made it, and the run again.

use std::ffi::OsString;
use std::path::Path;

use calotype::files::{atomic, png_text};
use calotype::pipeline::generation_parameters::GenerationParameters;
use calotype::pipeline::text_to_image::{Request, Sampling};
use calotype::sampler::Generator;
use calotype::{Error, Result};
use serde_json::{Map, Value, json};

use super::Args;

/// The chunk with our options.
const CHUNK: &str = "calotype";
/// Options that a picture may set: none of them writes anything.
const OPTIONS: [&str; 28] = [
    "model",
    "lora",
    "embedding",
    "clip-skip",
    "long-prompt",
    "plain-prompt",
    "vae-tiling",
    "dtype",
    "negative",
    "first",
    "steps",
    "sampler",
    "eta",
    "schedule",
    "compat",
    "guidance",
    "guidance-rescale",
    "guidance-interval",
    "seed",
    "rng",
    "width",
    "height",
    "init-latents",
    "init-image",
    "strength",
    "mask",
    "recorded-prompt",
    "tokenizer",
];

/// The text chunks of a picture: `parameters`, which other programs read, and ours, which repeats the run.
pub fn record(args: &Args, request: &Request, sampling: &Sampling) -> Vec<(&'static str, String)> {
    let ours = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "options": options(args, request, sampling),
    });
    vec![("parameters", parameters(args, request, sampling).to_string()), (CHUNK, ours.to_string())]
}

/// Every option with the value that it had, defaults included.
fn options(args: &Args, request: &Request, sampling: &Sampling) -> Map<String, Value> {
    let absolute = |path: &Path| match path.exists() {
        true => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        // A name on the hub.
        false => path.to_owned(),
    };
    let list = |paths: Vec<String>| if paths.is_empty() { Value::Null } else { json!(paths) };
    let text = |path: &Path| absolute(path).display().to_string();
    let Request { prompt, negative_prompt, guidance, image_index, .. } = request;
    let loras = args.model.lora.iter().map(|lora| format!("{}:{}", text(&lora.file), lora.weight)).collect();
    let settings = &sampling.sampler;
    let all = json!({
        "recorded-prompt": prompt, "negative": negative_prompt,
        "model": args.model.model.as_deref().map(text),
        "tokenizer": args.model.tokenizer.as_deref().map(text),
        "lora": list(loras),
        "embedding": list(args.model.embedding.iter().map(|path| text(path)).collect()),
        "clip-skip": args.model.clip_skip, "long-prompt": args.model.long_prompt,
        "plain-prompt": args.model.plain_prompt, "vae-tiling": args.model.vae_tiling, "dtype": args.model.dtype,
        "first": image_index, "seed": sampling.seed, "rng": sampling.generator.to_string(),
        "steps": settings.steps, "sampler": settings.kind.name(), "eta": settings.eta,
        "schedule": settings.schedule.map(|schedule| schedule.to_string()),
        "compat": settings.compat.map(|compat| compat.to_string()),
        "guidance": guidance.scale, "guidance-rescale": guidance.rescale,
        "guidance-interval": guidance.interval.map(|(low, high)| format!("{low},{high}")),
        "width": sampling.width, "height": sampling.height,
        "init-latents": args.sampling.init_latents.as_deref().map(text),
        "init-image": args.init_image.as_deref().map(text),
        "strength": args.init_image.as_ref().map(|_| args.strength()),
        "mask": args.mask.as_deref().map(text),
    });
    let Value::Object(mut all) = all else { return Map::new() };
    all.retain(|_, value| !value.is_null());
    all
}

fn parameters(args: &Args, request: &Request, sampling: &Sampling) -> GenerationParameters {
    // Its pictures are numbered by seeds; ours have a number beside the seed.
    let own_seed = match sampling.generator {
        Generator::Philox => sampling.seed,
        Generator::TorchCpu | Generator::TorchCuda => sampling.seed.wrapping_add(request.image_index),
    };
    let rng = match sampling.generator {
        Generator::Philox => "calotype",
        Generator::TorchCpu => "CPU",
        Generator::TorchCuda => "NV",
    };
    let mut fields = vec![
        ("Steps", sampling.sampler.steps.to_string()),
        ("Sampler", sampling.sampler.kind.label().to_owned()),
    ];
    if let Some(schedule) = sampling.sampler.schedule {
        let name = schedule.to_string();
        fields.push(("Schedule type", name[..1].to_uppercase() + &name[1..]));
    }
    fields.extend([
        ("CFG scale", request.guidance.scale.to_string()),
        ("Seed", own_seed.to_string()),
        ("Size", format!("{}x{}", sampling.width, sampling.height)),
    ]);
    let stem =
        args.model.model.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    fields.extend(stem.map(|stem| ("Model", stem)));
    if args.init_image.is_some() {
        fields.push(("Denoising strength", args.strength().to_string()));
    }
    if args.model.clip_skip > 0 {
        // It counts the last layer as 1.
        fields.push(("Clip skip", (args.model.clip_skip + 1).to_string()));
    }
    fields.push(("RNG", rng.to_owned()));
    if sampling.generator == Generator::Philox && request.image_index > 0 {
        fields.push(("Picture", request.image_index.to_string()));
    }
    fields.push(("Version", format!("calotype {}", env!("CARGO_PKG_VERSION"))));
    GenerationParameters {
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone().unwrap_or_default(),
        fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

/// The options that a picture records, as arguments.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a file that is no PNG, has no record, or one with unknown options.
pub fn arguments(path: &Path) -> Result<Vec<OsString>> {
    const FORMAT: &str = "PNG with the record of a run";
    let failed = |reason: String| Error::format(path, FORMAT, reason);
    let chunks = png_text::read(&atomic::read(path)?).map_err(failed)?;
    let Some((_, text)) = chunks.into_iter().find(|(key, _)| key == CHUNK) else {
        return Err(failed(format!("it has no text chunk `{CHUNK}`: was it made by `calotype generate`?")));
    };
    let record: Value = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    let options = record["options"].as_object().ok_or_else(|| failed("its record has no options".into()))?;
    let mut arguments = Vec::new();
    for (name, value) in options {
        if !OPTIONS.contains(&name.as_str()) {
            return Err(failed(format!("its record has an option `{name}` that a picture may not set")));
        }
        let values = match value {
            Value::Array(values) => values.clone(),
            Value::Bool(false) => continue,
            other => vec![other.clone()],
        };
        for value in values {
            arguments.push(match value {
                Value::Bool(true) => format!("--{name}").into(),
                Value::String(text) => format!("--{name}={text}").into(),
                number => format!("--{name}={number}").into(),
            });
        }
    }
    Ok(arguments)
}
