//! A checkpoint on disk again, in either layout.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::index::{ModelIndex, SecondEncoder};
use super::{CONFIGS, Checkpoint, SCHEDULER, StoredComponent, flux_file};
use crate::checkpoint::single_file::{self, Change, KeyLayout};
use crate::denoiser::DenoiserConfig;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::files::{Storage, StoredTensor, atomic, safetensors};
use crate::model::{Beside, ComponentKind};
use crate::nn::parameters::is_counter;

/// Writes a folder in diffusers' layout.
pub fn folder(checkpoint: &Checkpoint, root: &Path) -> Result<()> {
    if let Some(stored) = checkpoint.transformer_alone() {
        return component(ComponentKind::Transformer, stored, root);
    }
    checkpoint.check_tokenizers()?;
    for (&kind, stored) in &checkpoint.components {
        component(kind, stored, &root.join(kind.folder()))?;
    }
    for (tokenizer, name) in checkpoint.tokenizers.iter().zip(["tokenizer", "tokenizer_2"]) {
        tokenizer.save(&root.join(name))?;
    }
    if let Some(tokenizer) = &checkpoint.t5_tokenizer {
        tokenizer.save(&root.join("tokenizer_2"))?;
    }
    atomic::write(&root.join("scheduler/scheduler_config.json"), checkpoint.scheduler.as_bytes())?;
    atomic::write_json(&root.join("model_index.json"), &index(checkpoint, &scheduler(checkpoint)?))
}

/// Writes the folder of a component: its weights, then its config.
fn component(kind: ComponentKind, stored: &StoredComponent, folder: &Path) -> Result<()> {
    let mut tensors: Vec<(&str, &StoredTensor)> =
        stored.weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    tensors.sort_by_key(|(name, _)| *name);
    let file = folder.join(kind.weights_stem()).with_extension("safetensors");
    safetensors::write_stored(&file, tensors.into_iter(), HashMap::new())?;
    atomic::write_json(&folder.join("config.json"), &config_of(kind, stored))
}

/// The config with the dtype that transformers writes and reads.
fn config_of(component: ComponentKind, stored: &StoredComponent) -> Value {
    let mut config = stored.config.clone();
    let dtype = stored.weights.values().next().map_or(Storage::F32, StoredTensor::storage);
    if matches!(component, ComponentKind::TextEncoder | ComponentKind::TextEncoder2)
        && let Some(keys) = config.as_object_mut()
    {
        keys.remove("dtype");
        keys.insert("torch_dtype".into(), dtype.torch_name().into());
    }
    config
}

/// `scheduler_config.json` as it stands, with the class that it names, also one that is not known here.
fn scheduler(checkpoint: &Checkpoint) -> Result<Value> {
    SchedulerConfig::json(&checkpoint.scheduler)
        .map_err(|e| Error::format(&checkpoint.path, "scheduler configuration", e))
}

fn index(checkpoint: &Checkpoint, scheduler: &Value) -> Value {
    let config =
        |kind: ComponentKind, key: &str| checkpoint.components.get(&kind).map(|stored| &stored.config[key]);
    let denoiser = checkpoint.denoiser_kind();
    let channels = |key: &str| config(denoiser, key).and_then(Value::as_u64);
    let second = checkpoint.components.contains_key(&ComponentKind::TextEncoder2);
    let second_kind = if checkpoint.has_t5() { SecondEncoder::T5 } else { SecondEncoder::Clip };
    let inputs = channels("in_channels");
    let outputs = channels("out_channels").or(inputs);
    let beside = match denoiser {
        _ if inputs == outputs => Beside::Nothing,
        ComponentKind::Transformer if inputs == outputs.map(|channels| 2 * channels) => Beside::Reference,
        ComponentKind::Transformer => Beside::MaskedWithPixels,
        _ => Beside::Masked,
    };
    let class = |kind: ComponentKind| config(kind, "_class_name").and_then(Value::as_str);
    ModelIndex {
        second: second.then_some(second_kind),
        beside,
        denoiser: (denoiser, class(denoiser).unwrap_or(DenoiserConfig::CLASSES[0])),
        vae: class(ComponentKind::Vae).unwrap_or("AutoencoderKL"),
        scheduler: scheduler["_class_name"].as_str().unwrap_or("DDIMScheduler"),
        zeros_for_no_negative: checkpoint.force_zeros_for_empty_prompt,
    }
    .to_json()
}

/// Writes a single file in the original layout.
pub fn single_file(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    if checkpoint.transformer_alone().is_some() {
        return flux_file::write(checkpoint, path);
    }
    let config = |component: ComponentKind| checkpoint.component(component).map(|stored| &stored.config);
    let second = checkpoint.components.get(&ComponentKind::TextEncoder2).map(|stored| &stored.config);
    let layout = KeyLayout::from_configs(
        config(ComponentKind::Unet)?,
        config(ComponentKind::Vae)?,
        config(ComponentKind::TextEncoder)?,
        second,
    )
    .map_err(|reason| Error::format(&checkpoint.path, "model for a single file", reason))?;
    let mut tensors: BTreeMap<String, Cow<StoredTensor>> = BTreeMap::new();
    let mut thirds: BTreeMap<String, [Option<&StoredTensor>; 3]> = BTreeMap::new();
    for (component, stored) in &checkpoint.components {
        for (name, tensor) in &stored.weights {
            if is_counter(name) {
                continue;
            }
            let no_place = |reason: String| {
                let expected =
                    format!("a tensor that a single file of {} has a place for", layout.architecture);
                Error::weights("single-file", path, name, expected, reason)
            };
            let source = single_file::to_single_file(*component, name, &layout)
                .ok_or_else(|| no_place(format!("{:?} of {}", tensor.shape(), component.folder())))?;
            match source.change {
                Change::Third(i) => thirds.entry(source.key).or_default()[i] = Some(tensor),
                change => {
                    let undone = match change {
                        Change::None => Cow::Borrowed(tensor),
                        change => Cow::Owned(undone(change, tensor).map_err(no_place)?),
                    };
                    tensors.insert(source.key, undone);
                }
            }
        }
    }
    for (key, thirds) in thirds {
        let joined = joined(thirds).map_err(|reason| {
            Error::format(&checkpoint.path, "model for a single file", format!("`{key}`: {reason}"))
        })?;
        tensors.insert(key, Cow::Owned(joined));
    }
    // What the original layout has no place for: other programs read the names and shapes alone.
    let configs: BTreeMap<&str, &Value> = checkpoint
        .components
        .iter()
        .map(|(component, stored)| (component.folder(), &stored.config))
        .collect();
    let metadata = HashMap::from([
        (CONFIGS.to_owned(), json!(configs).to_string()),
        (SCHEDULER.to_owned(), checkpoint.scheduler.clone()),
    ]);
    let marker = StoredTensor::from_f32(vec![0], vec![]).expect("no numbers");
    for key in single_file::markers(layout.architecture, &scheduler(checkpoint)?) {
        tensors.insert(key.to_owned(), Cow::Borrowed(&marker));
    }
    safetensors::write_stored(path, tensors.iter().map(|(name, t)| (name.as_str(), &**t)), metadata)
}

fn undone(change: Change, tensor: &StoredTensor) -> std::result::Result<StoredTensor, String> {
    let stored = tensor.bytes();
    let (shape, bytes) = match tensor.storage().size() {
        2 => {
            let (shape, values) = change.undo(tensor.shape(), stored.as_chunks::<2>().0)?;
            (shape, values.as_flattened().to_vec())
        }
        _ => {
            let (shape, values) = change.undo(tensor.shape(), stored.as_chunks::<4>().0)?;
            (shape, values.as_flattened().to_vec())
        }
    };
    StoredTensor::copied(shape, tensor.storage(), &bytes).ok_or_else(|| "too few numbers".into())
}

fn joined(thirds: [Option<&StoredTensor>; 3]) -> std::result::Result<StoredTensor, String> {
    let [Some(q), Some(k), Some(v)] = thirds else {
        return Err("queries, keys and values must all be there".into());
    };
    if q.storage() != k.storage() || q.storage() != v.storage() {
        return Err("queries, keys and values have different dtypes".into());
    }
    // Rows of bytes: what a number is does not matter here.
    let size = q.storage().size();
    let rows = |t: &StoredTensor| [t.shape(), &[size]].concat();
    let stored = [q, k, v].map(StoredTensor::bytes);
    let [q_bytes, k_bytes, v_bytes] = stored.each_ref().map(|bytes| &**bytes);
    let (shape, bytes) =
        single_file::join_thirds([(&rows(q), q_bytes), (&rows(k), k_bytes), (&rows(v), v_bytes)])?;
    let shape = shape[..shape.len() - 1].to_vec();
    StoredTensor::copied(shape, q.storage(), &bytes).ok_or_else(|| "too few numbers".into())
}
