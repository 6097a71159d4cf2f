//! A folder in diffusers' layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Checkpoint, Part, StoredPart};
use crate::error::{Error, Result};
use crate::files::{atomic, weights};
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Pipelines of diffusers that differ in what is done with the networks, not in the networks.
const PIPELINES: [&str; 8] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "DiffusionPipeline",
];

impl Part {
    /// What the weight file is called, without its ending.
    pub(super) fn weights_stem(self) -> &'static str {
        match self {
            Part::Unet | Part::Vae => "diffusion_pytorch_model",
            Part::TextEncoder | Part::TextEncoder2 => "model",
        }
    }
}

/// Opens the folder of a pipeline.
pub fn open(folder: &Path) -> Result<Checkpoint> {
    let index_path = folder.join("model_index.json");
    if !index_path.is_file() {
        let reason =
            "it has no model_index.json: is it a folder in diffusers' layout, and is the training complete?";
        return Err(Error::format(folder, "model folder", reason));
    }
    let index: Value = atomic::read_json(&index_path)?;
    let class = index["_class_name"].as_str().unwrap_or_default();
    if !PIPELINES.contains(&class) {
        return Err(Error::Config {
            path: index_path,
            key: "_class_name".into(),
            expected: format!("one of {}", PIPELINES.join(", ")),
            got: format!("`{class}`"),
        });
    }
    if !folder.join("text_encoder").is_dir() && folder.join("text_encoder_2").is_dir() {
        let reason = "it has only a second text encoder, as SDXL's refiner, which finishes what the base model began \
                      and cannot be used alone";
        return Err(Error::format(folder, "model folder", reason));
    }
    let mut parts = BTreeMap::new();
    for part in Part::ALL {
        let inside = folder.join(part.folder());
        if part != Part::TextEncoder2 || inside.is_dir() {
            parts.insert(part, open_part(&inside, part)?);
        }
    }
    let mut tokenizers = vec![ClipTokenizer::load(&folder.join("tokenizer"))?];
    if parts.contains_key(&Part::TextEncoder2) {
        tokenizers.push(ClipTokenizer::load(&folder.join("tokenizer_2"))?);
    }
    Ok(Checkpoint {
        path: folder.to_owned(),
        tokenizers,
        scheduler: {
            let path = folder.join("scheduler/scheduler_config.json");
            let bytes = atomic::read(&path)?;
            String::from_utf8(bytes).map_err(|e| Error::format(path, "scheduler configuration", e))?
        },
        // diffusers' default; only SDXL's pipeline reads it.
        force_zeros_for_empty_prompt: index["force_zeros_for_empty_prompt"].as_bool().unwrap_or(true)
            && parts.contains_key(&Part::TextEncoder2),
        parts,
    })
}

/// Opens the folder of one component.
pub fn open_part(folder: &Path, part: Part) -> Result<StoredPart> {
    let config = atomic::read_json(&folder.join("config.json"))?;
    let (path, weights) = weights::open_folder(folder, part.weights_stem())?;
    Ok(StoredPart { path, config, weights })
}

/// `root/name` if that is a folder, else `root` itself: a pipeline's folder and a component's are
/// both taken.
pub fn component_folder(root: &Path, name: &str) -> PathBuf {
    let inside = root.join(name);
    if inside.is_dir() { inside } else { root.to_owned() }
}
