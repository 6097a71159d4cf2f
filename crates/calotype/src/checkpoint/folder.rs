//! A folder in diffusers' layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::single_file::unneeded::is_of_whole_clip;
use super::{Checkpoint, StoredComponent, Taken, flux_file, is_t5};
use crate::error::{Error, Result};
use crate::files::{atomic, weights};
use crate::model::ComponentKind;
use crate::text_encoder::T5Tokenizer;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Pipelines of diffusers that differ in what is done with the networks, not in the networks.
const PIPELINES: [&str; 16] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "FluxPipeline",
    "FluxImg2ImgPipeline",
    "FluxInpaintPipeline",
    "FluxFillPipeline",
    "FluxKontextPipeline",
    "FluxKontextInpaintPipeline",
    "FluxControlPipeline",
    "FluxControlImg2ImgPipeline",
    "DiffusionPipeline",
];

/// Opens the folder of a pipeline.
pub fn open(folder: &Path) -> Result<Checkpoint> {
    let index_path = folder.join("model_index.json");
    if !index_path.is_file() {
        if let Some(transformer) = open_transformer(folder)? {
            return Ok(transformer);
        }
        let reason =
            "it has no model_index.json: is it a folder in diffusers' layout, and is the training complete?";
        return Err(Error::format(folder, "model folder", reason));
    }
    let index: Value = atomic::read_json(&index_path)?;
    let class = index["_class_name"].as_str().unwrap_or_default();
    if !PIPELINES.contains(&class) {
        let expected = format!("one of {}", PIPELINES.join(", "));
        return Err(Error::config(index_path, "_class_name", expected, format!("`{class}`")));
    }
    if !folder.join("text_encoder").is_dir() && folder.join("text_encoder_2").is_dir() {
        let reason = "it has only a second text encoder, as SDXL's refiner, which finishes what the base model began \
                      and cannot be used alone";
        return Err(Error::format(folder, "model folder", reason));
    }
    let mut components = BTreeMap::new();
    let is_there = |kind: &ComponentKind| folder.join(kind.folder()).is_dir();
    let denoiser = ComponentKind::DENOISERS.into_iter().find(is_there).unwrap_or(ComponentKind::DENOISERS[0]);
    for kind in ComponentKind::ALL {
        let another = ComponentKind::DENOISERS.contains(&kind) && kind != denoiser;
        if !another && (kind != ComponentKind::TextEncoder2 || is_there(&kind)) {
            components.insert(kind, open_component(&folder.join(kind.folder()), kind)?);
        }
    }
    let mut tokenizers = vec![ClipTokenizer::load(&folder.join("tokenizer"))?];
    let mut t5_tokenizer = None;
    let second_tokenizer = folder.join("tokenizer_2");
    match components.get(&ComponentKind::TextEncoder2) {
        // Another folder's may be named.
        Some(second) if is_t5(second) && !second_tokenizer.is_dir() => {}
        Some(second) if is_t5(second) => t5_tokenizer = Some(T5Tokenizer::load(&second_tokenizer)?),
        Some(_) => tokenizers.push(ClipTokenizer::load(&second_tokenizer)?),
        None => {}
    }
    let left_out = components.values_mut().flat_map(|stored| std::mem::take(&mut stored.left_out)).collect();
    Ok(Checkpoint {
        path: folder.to_owned(),
        left_out,
        taken: Taken::default(),
        t5_tokenizer,
        scheduler: {
            let path = folder.join("scheduler/scheduler_config.json");
            let bytes = atomic::read(&path)?;
            String::from_utf8(bytes).map_err(|e| Error::format(path, "scheduler configuration", e))?
        },
        // diffusers' default; only SDXL's pipeline reads it.
        force_zeros_for_empty_prompt: index["force_zeros_for_empty_prompt"].as_bool().unwrap_or(true)
            && tokenizers.len() == 2,
        tokenizers,
        components,
    })
}

/// Opens the folder of Flux's transformer alone; `None` for other folders.
fn open_transformer(folder: &Path) -> Result<Option<Checkpoint>> {
    let config = atomic::read_json::<Value>(&folder.join("config.json"));
    if !config.is_ok_and(|config| config["_class_name"] == "FluxTransformer2DModel") {
        return Ok(None);
    }
    let stored = open_component(folder, ComponentKind::Transformer)?;
    Ok(Some(flux_file::alone(folder, stored, None)))
}

/// Opens the folder of one component.
pub fn open_component(folder: &Path, component: ComponentKind) -> Result<StoredComponent> {
    let config_path = folder.join("config.json");
    let config = atomic::read_json(&config_path)?;
    let (path, mut weights) = weights::open_folder(folder, component.weights_stem())?;
    let is_text = matches!(component, ComponentKind::TextEncoder | ComponentKind::TextEncoder2);
    // Some folders have all of a CLIP; the text's own projection is kept.
    let is_other = |name: &str| is_text && is_of_whole_clip(name) && name != "text_projection.weight";
    let mut left_out: Vec<String> =
        weights.extract_if(|name, _| is_other(name)).map(|(name, _)| name).collect();
    left_out.sort();
    Ok(StoredComponent { path, config_path: Some(config_path), config, weights, left_out })
}

/// `root/name` if that is a folder, else `root` itself: a pipeline's folder and a component's are
/// both taken.
pub fn component_folder(root: &Path, name: &str) -> PathBuf {
    let inside = root.join(name);
    if inside.is_dir() { inside } else { root.to_owned() }
}
