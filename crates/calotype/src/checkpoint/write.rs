//! A checkpoint on disk again, in any layout.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::index::{ModelIndex, SecondEncoder};
use super::{CONFIGS, Checkpoint, SCHEDULER, StoredComponent, flux_file, gguf_file};
use crate::checkpoint::single_file::{self, Change, KeyLayout};
use crate::denoiser::DenoiserConfig;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::files::gguf::TensorType;
use crate::files::{Stack, Storage, StoredTensor, atomic, safetensors};
use crate::model::{Beside, ComponentKind};
use crate::named::named_enum;
use crate::nn::parameters::is_counter;

named_enum! {
    /// What a model is written as.
    pub enum Layout {
        /// diffusers' folder.
        Folder = "folder",
        /// Everything in one safetensors file, under the names of the original code.
        SingleFile = "single file",
        /// One network in a GGUF file.
        Gguf = "GGUF",
    }
}

impl Layout {
    /// Which one `path` stands for, by its ending: `.gguf`, `.safetensors`, or a folder.
    pub fn of(path: &Path) -> Self {
        let ends = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
        match (ends("gguf"), ends("safetensors")) {
            (true, _) => Self::Gguf,
            (_, true) => Self::SingleFile,
            _ => Self::Folder,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As what.
    pub layout: Layout,
    /// How most of the denoiser's numbers are stored.
    pub dtype: TensorType,
    /// Components that the file has no place for.
    pub left: Vec<ComponentKind>,
}

/// Writes what `path` stands for.
pub fn write(checkpoint: &Checkpoint, path: &Path, dtype: Option<TensorType>) -> Result<Written> {
    let layout = Layout::of(path);
    let storage = match (layout, dtype) {
        (Layout::Gguf, _) | (_, None) => None,
        (_, Some(TensorType::Plain(storage))) => Some(storage),
        (_, Some(blocks)) => {
            let expected = format!("{}: blocks are written into files that end in .gguf", Storage::names());
            return Err(Error::argument("dtype", expected, blocks));
        }
    };
    let plain = TensorType::Plain(storage.unwrap_or_else(|| checkpoint.storage()));
    let (dtype, kinds) = match layout {
        Layout::Folder => (plain, folder(checkpoint, path, storage).map(|()| None)?),
        Layout::SingleFile => (plain, single_file(checkpoint, path, storage)?),
        Layout::Gguf => gguf_file::write(checkpoint, path, dtype).map(|(kind, dtype)| (dtype, Some(kind)))?,
    };
    let is_left = |kind: &ComponentKind| kinds.is_some_and(|written| written != *kind);
    let left = checkpoint.components.keys().copied().filter(is_left).collect();
    Ok(Written { layout, dtype, left })
}

/// A tensor whole, stored as asked for.
fn whole<'a>(name: &str, tensor: &'a StoredTensor, storage: Option<Storage>) -> Stack<'a> {
    let mut stack = Stack::whole(name, tensor);
    stack.kind = storage.map_or(stack.kind, TensorType::Plain);
    stack
}

/// Writes a folder in diffusers' layout.
pub fn folder(checkpoint: &Checkpoint, root: &Path, storage: Option<Storage>) -> Result<()> {
    if let Some((kind, stored)) = checkpoint.alone() {
        return component(kind, stored, root, storage);
    }
    checkpoint.check_tokenizers()?;
    for (&kind, stored) in &checkpoint.components {
        component(kind, stored, &root.join(kind.folder()), storage)?;
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
fn component(
    kind: ComponentKind,
    stored: &StoredComponent,
    folder: &Path,
    storage: Option<Storage>,
) -> Result<()> {
    let stacks = stored.weights.iter().map(|(name, tensor)| whole(name, tensor, storage)).collect();
    let file = folder.join(kind.weights_stem()).with_extension("safetensors");
    safetensors::write_stacks(&file, stacks, HashMap::new())?;
    atomic::write_json(&folder.join("config.json"), &config_of(kind, stored, storage))
}

/// The config with the dtype that transformers writes and reads.
fn config_of(component: ComponentKind, stored: &StoredComponent, storage: Option<Storage>) -> Value {
    let mut config = stored.config.clone();
    let own = stored.weights.values().next().map_or(Storage::F32, StoredTensor::storage);
    if matches!(component, ComponentKind::TextEncoder | ComponentKind::TextEncoder2)
        && let Some(keys) = config.as_object_mut()
    {
        keys.remove("dtype");
        keys.insert("torch_dtype".into(), storage.unwrap_or(own).torch_name().into());
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

/// What single files have no place for, for their headers: the configs of these components, and the scheduler's.
pub(super) fn header(checkpoint: &Checkpoint, kinds: &[ComponentKind]) -> HashMap<String, String> {
    let stored =
        kinds.iter().filter_map(|kind| Some((kind.folder(), &checkpoint.components.get(kind)?.config)));
    let configs: BTreeMap<&str, &Value> = stored.collect();
    let scheduler = (SCHEDULER.to_owned(), checkpoint.scheduler.clone());
    let scheduler = Some(scheduler).filter(|(_, text)| !text.is_empty());
    [(CONFIGS.to_owned(), json!(configs).to_string())].into_iter().chain(scheduler).collect()
}

/// Writes a single file in the original layout, and returns the component that it is of if it is not of all.
fn single_file(
    checkpoint: &Checkpoint,
    path: &Path,
    storage: Option<Storage>,
) -> Result<Option<ComponentKind>> {
    if checkpoint.components.contains_key(&ComponentKind::Transformer) {
        return flux_file::write(checkpoint, path, storage).map(|()| Some(ComponentKind::Transformer));
    }
    if let Some((kind, stored)) = checkpoint.alone() {
        let stacks = stored.weights.iter().map(|(name, tensor)| whole(name, tensor, storage)).collect();
        return safetensors::write_stacks(path, stacks, header(checkpoint, &[kind])).map(|()| None);
    }
    whole_model(checkpoint, path, storage).map(|()| None)
}

/// All components of a Stable Diffusion.
fn whole_model(checkpoint: &Checkpoint, path: &Path, storage: Option<Storage>) -> Result<()> {
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
        let joined = joined(thirds, storage).map_err(|reason| {
            Error::format(&checkpoint.path, "model for a single file", format!("`{key}`: {reason}"))
        })?;
        tensors.insert(key, Cow::Owned(joined));
    }
    let mut stacks: Vec<Stack> = tensors.iter().map(|(name, tensor)| whole(name, tensor, storage)).collect();
    let marker = StoredTensor::from_f32(vec![0], vec![]).expect("no numbers");
    let markers = single_file::markers(layout.architecture, &scheduler(checkpoint)?);
    stacks.extend(markers.into_iter().map(|name| Stack::whole(name, &marker)));
    // Other programs read the names and shapes alone.
    let kinds: Vec<ComponentKind> = checkpoint.components.keys().copied().collect();
    safetensors::write_stacks(path, stacks, header(checkpoint, &kinds))
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

fn joined(
    thirds: [Option<&StoredTensor>; 3],
    storage: Option<Storage>,
) -> std::result::Result<StoredTensor, String> {
    let [Some(q), Some(k), Some(v)] = thirds else {
        return Err("queries, keys and values must all be there".into());
    };
    let as_asked = |third: &StoredTensor| match storage {
        Some(storage) => third.clone().stored_as(storage),
        None => third.clone(),
    };
    let [q, k, v] = &[q, k, v].map(as_asked);
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
