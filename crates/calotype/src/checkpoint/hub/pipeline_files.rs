//! Which files of a diffusers pipeline's repository are ours to read.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::atomic;

/// Networks of a pipeline: a config and weights. `clip` holds both towers in folders that we write.
const NETWORKS: [&str; 6] = ["vae", "unet", "transformer", "text_encoder", "text_encoder_2", "clip"];
const TOKENIZER_FILES: [&str; 7] = [
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];
/// Weight files' names before variant, shard and ending: of diffusers and of transformers.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "pytorch_model", "model"];

/// Of all files of a diffusers pipeline's repository those that we read: `model_index.json`, the networks'
/// `config.json` and weights, the tokenizer, `scheduler/scheduler_config.json`.
///
/// Of each network's weights one set: safetensors without a variant; else with `fp16` in the name; else, if
/// there are no safetensors, `.bin` in the same order. A set is one file, or its shards with their index.
/// Never: checkpoints at the root, other variants (`non_ema`), other formats, the safety checker.
pub fn wanted_for_pipeline(siblings: &[String]) -> Vec<String> {
    let weights: Vec<&String> = NETWORKS.iter().flat_map(|network| weight_set(siblings, network)).collect();
    let wanted = |file: &str| match file.split_once('/') {
        None => file == "model_index.json",
        Some(("tokenizer" | "tokenizer_2", name)) => TOKENIZER_FILES.contains(&name),
        Some(("scheduler", name)) => name == "scheduler_config.json",
        Some((folder, name)) => NETWORKS.contains(&folder) && name == "config.json",
    };
    siblings.iter().filter(|file| wanted(file) || weights.contains(file)).cloned().collect()
}

/// The best set of weight files in the folder of `network`; empty if there is none.
fn weight_set<'a>(siblings: &'a [String], network: &str) -> Vec<&'a String> {
    let of = |format: &str, variant: &str| -> Vec<&'a String> {
        let fits = |file: &&String| {
            let inside = file.split_once('/').filter(|(folder, _)| *folder == network);
            let kind = inside.and_then(|(_, name)| weight_kind(name));
            kind == Some((format, variant))
        };
        siblings.iter().filter(fits).collect()
    };
    let preference = [("safetensors", ""), ("safetensors", "fp16"), ("bin", ""), ("bin", "fp16")];
    let sets = preference.into_iter().map(|(format, variant)| of(format, variant));
    // An index alone is no set.
    sets.into_iter().find(|set| set.iter().any(|file| !file.ends_with(".json"))).unwrap_or_default()
}

/// Format and variant of a weight file or of its index of shards; `None` for other files.
///
/// `model.fp16-00001-of-00002.safetensors`, `model-00001-of-00002.fp16.safetensors` and
/// `model.safetensors.index.fp16.json` are all `("safetensors", "fp16")`.
fn weight_kind(name: &str) -> Option<(&str, &str)> {
    let stem = STEMS
        .into_iter()
        .find(|stem| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(['.', '-'])))?;
    let mut words: Vec<&str> = name[stem.len()..].split(['.', '-']).filter(|word| !word.is_empty()).collect();
    let number = |word: &&str| *word == "of" || (word.len() == 5 && word.bytes().all(|b| b.is_ascii_digit()));
    words.retain(|word| !number(word));
    let format = match words.last() {
        Some(&"json") if words.contains(&"index") => {
            words.retain(|word| *word != "json" && *word != "index");
            *words.iter().find(|word| ["safetensors", "bin"].contains(word))?
        }
        Some(&format @ ("safetensors" | "bin")) => format,
        _ => return None,
    };
    words.retain(|word| *word != format);
    match words[..] {
        [] => Some((format, "")),
        [variant] => Some((format, variant)),
        _ => None,
    }
}

/// Refuses a snapshot that lacks a component named by its `model_index.json`, or a network's weights.
///
/// # Errors
/// `Error::Data` with all that is missing; `Error::Io` and `Error::Format` of the index.
pub(super) fn require_complete(name: &str, snapshot: &Path, files: &[String]) -> Result<()> {
    let index: serde_json::Map<String, Value> = atomic::read_json(&snapshot.join("model_index.json"))?;
    let has = |file: &str| files.iter().any(|f| f == file);
    // `[null, null]` is a component that the pipeline does without.
    let named = |part: &str| index.get(part).is_some_and(|value| value.get(0).is_some_and(|v| !v.is_null()));
    let mut missing = Vec::new();
    for network in NETWORKS.into_iter().filter(|network| named(network)) {
        if !has(&format!("{network}/config.json")) {
            missing.push(format!("{network}/config.json"));
        }
        if weight_set(files, network).is_empty() {
            missing.push(format!("weights in {network}/ (safetensors, with no variant or fp16)"));
        }
    }
    if named("tokenizer") && !has("tokenizer/vocab.json") && !has("tokenizer/tokenizer.json") {
        missing.push("tokenizer/vocab.json or tokenizer/tokenizer.json".into());
    }
    if named("scheduler") && !has("scheduler/scheduler_config.json") {
        missing.push("scheduler/scheduler_config.json".into());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let got = format!("`{}` without {}", snapshot.display(), missing.join(", "));
    Err(Error::data(name, "all components of model_index.json", got))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "
        model_index.json scheduler/scheduler_config.json text_encoder/config.json
        text_encoder/model.safetensors tokenizer/merges.txt tokenizer/special_tokens_map.json
        tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
        unet/diffusion_pytorch_model.safetensors vae/config.json vae/diffusion_pytorch_model.safetensors";
    const OTHERS: &str = "
        .gitattributes README.md feature_extractor/preprocessor_config.json safety_checker/config.json
        safety_checker/model.fp16.safetensors safety_checker/model.safetensors
        safety_checker/pytorch_model.bin text_encoder/model.fp16.safetensors
        text_encoder/pytorch_model.bin text_encoder/pytorch_model.fp16.bin
        text_encoder/flax_model.msgpack text_encoder/model.onnx text_encoder/openvino_model.bin
        unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16.bin
        unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.non_ema.bin
        unet/diffusion_pytorch_model.non_ema.safetensors unet/old/diffusion_pytorch_model.safetensors
        v1-5-pruned-emaonly.safetensors v1-5-pruned.ckpt v1-inference.yaml
        vae/diffusion_pytorch_model.bin vae_1_0/config.json vae_1_0/diffusion_pytorch_model.safetensors";

    fn wanted(names: &[&str]) -> Vec<String> {
        wanted_for_pipeline(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn files_of_stable_diffusion_1_5() {
        let ours: Vec<&str> = WANTED.split_whitespace().collect();
        let all: Vec<&str> = OTHERS.split_whitespace().chain(ours.iter().copied()).collect();
        assert_eq!(wanted(&all), ours);
    }

    #[test]
    fn one_set_of_weights() {
        let (half, plain) =
            ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin");
        assert_eq!(wanted(&[half, plain]), [half]);
        assert_eq!(wanted(&[plain, "unet/diffusion_pytorch_model.fp16.bin"]), [plain]);
        assert!(
            wanted(&[
                "unet/diffusion_pytorch_model.non_ema.safetensors",
                "unet/diffusion_flax_model.msgpack"
            ])
            .is_empty()
        );
        let shards = [
            "text_encoder/model-00001-of-00002.safetensors",
            "text_encoder/model-00002-of-00002.safetensors",
            "text_encoder/model.safetensors.index.json",
        ];
        let halves = [
            "text_encoder/model.fp16-00001-of-00002.safetensors",
            "text_encoder/model-00002-of-00002.fp16.safetensors",
            "text_encoder/model.safetensors.index.fp16.json",
        ];
        assert_eq!(wanted(&[&shards[..], &halves[..]].concat()), shards);
        assert_eq!(wanted(&halves), halves);
        // An index without its shards does not hide what is there.
        assert_eq!(
            wanted(&[shards[2], "text_encoder/pytorch_model.bin"]),
            ["text_encoder/pytorch_model.bin"]
        );
    }
}
