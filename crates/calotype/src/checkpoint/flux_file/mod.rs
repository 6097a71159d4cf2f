//! Flux.1's transformer in one file: under Black Forest Labs' names, as in `flux1-dev.safetensors`, or under diffusers'.
//!
//! ```text
//! double_blocks.0.img_attn.qkv.weight ↔ transformer_blocks.0.attn.to_q.weight, to_k, to_v
//! single_blocks.0.linear1.weight      ↔ single_transformer_blocks.0.attn.to_q.weight, to_k, to_v, proj_mlp
//! ```
//!
//! Sizes and numbers of blocks are read from the tensors: models that others have made smaller are as good.

mod config;
pub(super) mod names;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::single_file::alone::{clip_text, taken_from, vae};
use super::single_file::open::{Written, written_configs};
use super::{Checkpoint, StoredComponent, Taken, t5};
use crate::error::{Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::Tensors;
use crate::model::ComponentKind;
use crate::text_encoder::tokenizer::{ClipTokenizer, Padding};
use names::{Entry, Parts, entries};

pub(super) use write::{several_types, stacks, write};

const FORMAT: &str = "Flux.1 in one file";

/// What names begin with in files of the original code: nothing, or as in checkpoints of ComfyUI.
const PREFIXES: [&str; 2] = ["", "model.diffusion_model."];
/// In every double block, and in no other network but Flux's relatives.
const MARK: &str = "double_blocks.0.img_attn.norm.key_norm.scale";
/// Tensors of the relatives: Flux 2 and Chroma.
const RELATIVES: [&str; 3] = [
    "single_stream_modulation.lin.weight",
    "double_stream_modulation_img.lin.weight",
    "distilled_guidance_layer.in_proj.bias",
];
/// Under diffusers' names, together in no other network.
const DIFFUSERS_MARKS: [&str; 4] = [
    "x_embedder.weight",
    "context_embedder.weight",
    "time_text_embed.timestep_embedder.linear_1.weight",
    "transformer_blocks.0.attn.norm_q.weight",
];
/// What the names of the other networks begin with in ComfyUI's checkpoints.
const CLIP: &str = "text_encoders.clip_l.transformer.";
const T5: &str = "text_encoders.t5xxl.transformer.";
const VAE: &str = "vae.";
/// All beside the denoiser there, with what no network has.
const OTHER_NETWORKS: [&str; 2] = ["text_encoders.", "vae."];

/// How a file names Flux's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As the original code, after a prefix.
    Original(&'static str),
    /// As diffusers.
    Diffusers,
}

/// `None` for a file that is not Flux.1's transformer.
pub fn naming(tensors: &Tensors) -> Option<Naming> {
    let has = |prefix: &str, name: &str| tensors.contains_key(&format!("{prefix}{name}"));
    let is_original =
        |prefix: &&'static str| has(prefix, MARK) && !RELATIVES.iter().any(|relative| has(prefix, relative));
    if let Some(prefix) = PREFIXES.into_iter().find(is_original) {
        return Some(Naming::Original(prefix));
    }
    DIFFUSERS_MARKS.iter().all(|mark| has("", mark)).then_some(Naming::Diffusers)
}

/// Opens such a file: the transformer, the networks that ComfyUI puts beside it, and the scheduler that its model has.
pub fn open(path: &Path, mut tensors: Tensors, naming: Naming) -> Result<Checkpoint> {
    let mut others = Others::default();
    if naming == Naming::Original(PREFIXES[1]) {
        others = Others::taken_from(path, &mut tensors)?;
    }
    let (weights, left_out) = match naming {
        Naming::Original(prefix) => to_diffusers(path, tensors, prefix)?,
        Naming::Diffusers => (tensors, vec![]),
    };
    let Written { mut configs, scheduler } = written_configs(path)?;
    let config = match configs.remove(ComponentKind::Transformer.folder()) {
        Some(config) => config,
        None => {
            let derived = config::derive(&weights).map_err(|reason| Error::format(path, FORMAT, reason))?;
            serde_json::to_value(derived).map_err(|e| Error::format(path, FORMAT, e))?
        }
    };
    let path = path.to_owned();
    let stored = StoredComponent { path: path.clone(), config_path: None, config, weights, left_out: vec![] };
    let mut checkpoint = alone(&path, stored, scheduler);
    checkpoint.left_out = [left_out, others.left_out].concat();
    checkpoint.left_out.sort();
    checkpoint.components.append(&mut others.components);
    if checkpoint.components.contains_key(&ComponentKind::TextEncoder) {
        checkpoint.tokenizers = vec![ClipTokenizer::openai(Padding::End)?];
    }
    Ok(checkpoint)
}

/// The networks that a checkpoint of ComfyUI has beside the transformer.
#[derive(Default)]
struct Others {
    components: BTreeMap<ComponentKind, StoredComponent>,
    /// Names of tensors that are no part of them.
    left_out: Vec<String>,
}

impl Others {
    fn taken_from(path: &Path, tensors: &mut Tensors) -> Result<Self> {
        let mut others = Self::default();
        others.add(CLIP, ComponentKind::TextEncoder, tensors, |part| clip_text(path, part, None))?;
        others.add(T5, ComponentKind::TextEncoder2, tensors, |part| t5::of_tensors(path, part))?;
        others.add(VAE, ComponentKind::Vae, tensors, |part| vae(path, part, None))?;
        Ok(others)
    }

    /// What `read` makes of the tensors under `prefix`.
    fn add(
        &mut self,
        prefix: &str,
        kind: ComponentKind,
        tensors: &mut Tensors,
        read: impl FnOnce(Tensors) -> Result<Option<StoredComponent>>,
    ) -> Result<()> {
        let part = taken_from(tensors, prefix);
        let names: Vec<String> = part.keys().cloned().collect();
        let left_out = match read(part)? {
            Some(mut stored) => {
                let left_out = std::mem::take(&mut stored.left_out);
                self.components.insert(kind, stored);
                left_out
            }
            None => names,
        };
        self.left_out.extend(left_out.into_iter().map(|name| format!("{prefix}{name}")));
        Ok(())
    }
}

/// A model's transformer without the rest of the model.
///
/// - `scheduler`: the text of its `scheduler_config.json`; where there is none, that of dev or schnell is taken.
pub(super) fn alone(path: &Path, transformer: StoredComponent, scheduler: Option<String>) -> Checkpoint {
    let dev = transformer.config["guidance_embeds"] == true;
    Checkpoint {
        path: path.to_owned(),
        scheduler: scheduler.unwrap_or_else(|| format!("{:#}\n", scheduler_config(dev))),
        components: BTreeMap::from([(ComponentKind::Transformer, transformer)]),
        tokenizers: vec![],
        t5_tokenizer: None,
        force_zeros_for_empty_prompt: false,
        left_out: vec![],
        taken: Taken::default(),
    }
}

/// `scheduler_config.json` of FLUX.1-dev or schnell.
fn scheduler_config(dev: bool) -> Value {
    json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": crate::files::config_keys::DIFFUSERS_VERSION,
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": if dev { 3.0 } else { 1.0 },
        "use_dynamic_shifting": dev,
    })
}

/// Tensors of the original code under diffusers' names, and the names of what belongs to other networks.
fn to_diffusers(path: &Path, mut tensors: Tensors, prefix: &str) -> Result<(Tensors, Vec<String>)> {
    let count = |stem: &str, end: &str| {
        (0..).take_while(|i| tensors.contains_key(&format!("{prefix}{stem}.{i}.{end}"))).count()
    };
    let parts = Parts {
        double: count("double_blocks", "img_attn.norm.key_norm.scale"),
        single: count("single_blocks", "norm.key_norm.scale"),
        guidance: tensors.contains_key(&format!("{prefix}guidance_in.in_layer.bias")),
    };
    // The width of the network says where one tensor of a stack ends and the next begins.
    let width = tensors.get(&format!("{prefix}img_in.weight")).and_then(|t| t.shape().first().copied());
    let width = width.unwrap_or(0);
    let mut weights = Tensors::new();
    for entry in entries(parts) {
        let key = format!("{prefix}{}", entry.key);
        let wrong = |expected: String, got: String| Error::weights("denoiser", path, &key, expected, got);
        let tensor = tensors
            .remove(&key)
            .ok_or_else(|| wrong("a tensor of Flux.1".into(), "no such tensor".into()))?;
        let got = format!("{:?}", tensor.shape());
        weights.extend(taken_apart(&entry, tensor, width).ok_or_else(|| {
            let expected = match entry.names.len() {
                1 => "two halves of rows".into(),
                count => format!("the rows of {count} tensors, {width} each"),
            };
            wrong(expected, got)
        })?);
    }
    let is_other =
        |key: &str| !prefix.is_empty() && OTHER_NETWORKS.iter().any(|start| key.starts_with(start));
    let (mut left_out, mut unknown): (Vec<String>, Vec<String>) =
        tensors.keys().cloned().partition(|key| is_other(key));
    left_out.sort();
    unknown.sort();
    match unknown.first() {
        None => Ok((weights, left_out)),
        Some(key) => {
            let more = unknown.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let got = format!("{:?}{more}", tensors[key].shape());
            Err(Error::weights("denoiser", path, key, "a tensor of Flux.1", got))
        }
    }
}

/// The tensors of `entry`, each of `width` rows but the last, which has the rest; `None` where there are too few rows.
fn taken_apart(entry: &Entry, tensor: StoredTensor, width: usize) -> Option<Vec<(String, StoredTensor)>> {
    if entry.swapped {
        return Some(vec![(entry.names[0].clone(), halves_swapped(&tensor)?)]);
    }
    let [only] = &entry.names[..] else {
        let (rows, last) = (*tensor.shape().first()?, entry.names.len() - 1);
        let part = |(i, name): (usize, &String)| {
            let first = i.checked_mul(width)?;
            let end = if i == last { rows } else { first.checked_add(width)? };
            Some((name.clone(), tensor.rows(first..end)?))
        };
        return entry.names.iter().enumerate().map(part).collect();
    };
    Some(vec![(only.clone(), tensor)])
}

/// The second half of the rows, then the first.
fn halves_swapped(tensor: &StoredTensor) -> Option<StoredTensor> {
    let rows = tensor.shape().first().copied().filter(|rows| rows.is_multiple_of(2))?;
    let (first, second) = (tensor.rows(0..rows / 2)?, tensor.rows(rows / 2..rows)?);
    let bytes = [second.bytes(), first.bytes()].concat();
    StoredTensor::copied(tensor.shape().to_vec(), tensor.storage(), &bytes)
}

#[cfg(test)]
mod tests;
