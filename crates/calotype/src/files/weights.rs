//! Weight files of any kind, alone or in shards.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::content::WeightFormat;
use super::{atomic, gguf, pickle, quantised, safetensors};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, StoredTensor};

/// What `DataParallel` and `torch.compile` put before the names of a network that they wrap.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// Wrappers in wrappers.
const MOST_WRAPPERS: usize = 4;

/// Tensors by name, as they are stored.
pub type Tensors = HashMap<String, StoredTensor>;

/// The tensors of a file as they are stored, whichever kind it is, by its content; without `module.` and `_orig_mod.`
/// before every name, and with the factors of fp8 taken in.
///
/// # Errors
/// As [`WeightFormat::of`], [`pickle::open`], [`safetensors::open`] and [`gguf::open`]; `Error::Format` for a factor
/// that belongs to no weight of fp8.
pub fn open(path: &Path) -> Result<Tensors> {
    quantised::scaled(path, unwrapped(open_file(path)?))
}

fn open_file(path: &Path) -> Result<Tensors> {
    match WeightFormat::of(path)? {
        WeightFormat::TorchSave => pickle::open(path),
        WeightFormat::Safetensors => safetensors::open(path),
        WeightFormat::Gguf => gguf::open(path),
    }
}

/// The same without what wrappers of networks put before every name; a single number beside them has a name of its own.
fn unwrapped(mut tensors: Tensors) -> Tensors {
    let is_under = |tensors: &Tensors, wrapper: &str| {
        let mut weights = tensors.iter().filter(|(_, tensor)| tensor.shape().iter().product::<usize>() != 1);
        tensors.keys().any(|name| name.starts_with(wrapper))
            && weights.all(|(name, _)| name.starts_with(wrapper))
    };
    for _ in 0..MOST_WRAPPERS {
        let Some(wrapper) = WRAPPERS.into_iter().find(|wrapper| is_under(&tensors, wrapper)) else { break };
        let without = |(name, tensor): (String, StoredTensor)| {
            let inner = name.strip_prefix(wrapper).map(str::to_owned);
            (inner.unwrap_or(name), tensor)
        };
        tensors = tensors.into_iter().map(without).collect();
    }
    tensors
}

/// The texts of a file's header, of GGUF its numbers too; none of a pickle.
///
/// # Errors
/// As [`open`].
pub fn read_metadata(path: &Path) -> Result<HashMap<String, String>> {
    match WeightFormat::of(path)? {
        WeightFormat::TorchSave => Ok(HashMap::new()),
        WeightFormat::Safetensors => safetensors::read_metadata(path),
        WeightFormat::Gguf => gguf::read_metadata(path),
    }
}

/// [`open`], in f32.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<HashMap<String, NamedTensor>> {
    Ok(NamedTensor::all_of(open(path)?))
}

/// Opens the weights of a component's folder: a single file or the shards that an index lists, safetensors
/// before pickles, without a variant before `fp16`, `bf16` and `non_ema`. Returns the file's or the index's
/// path, for messages.
///
/// - `stem`: `diffusion_pytorch_model` or `model`; a pickle of the latter is called `pytorch_model.bin`.
///
/// # Errors
/// `Error::Io` if the folder has no weights or a shard is missing; `Error::Format` for an index that lies or
/// names files outside of the folder; those of [`open`].
pub fn open_folder(folder: &Path, stem: &str) -> Result<(PathBuf, Tensors)> {
    let pickle = if stem == "model" { "pytorch_model" } else { stem };
    for variant in ["", ".fp16", ".bf16", ".non_ema"] {
        for (name, index) in [
            (format!("{stem}{variant}.safetensors"), format!("{stem}.safetensors.index{variant}.json")),
            (format!("{pickle}{variant}.bin"), format!("{pickle}.bin.index{variant}.json")),
        ] {
            let (file, index) = (folder.join(name), folder.join(index));
            if file.is_file() {
                let tensors = open(&file)?;
                return Ok((file, tensors));
            }
            if index.is_file() {
                let tensors = open_shards(folder, &index)?;
                return Ok((index, tensors));
            }
        }
    }
    let expected = folder.join(format!("{stem}.safetensors"));
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    Err(Error::io("read", expected)(missing))
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

fn open_shards(folder: &Path, index: &Path) -> Result<Tensors> {
    const FORMAT: &str = "index of weight shards";
    let Index { weight_map } = atomic::read_json(index)?;
    let mut names: Vec<&String> = weight_map.values().collect();
    names.sort();
    names.dedup();
    let mut tensors = Tensors::new();
    for name in names {
        // A shard lies beside its index, and nowhere else.
        if name.contains(['/', '\\', '\0']) || name.starts_with('.') || name.is_empty() {
            return Err(Error::format(
                index,
                FORMAT,
                format!("`{name}` is not the name of a file beside it"),
            ));
        }
        for (tensor, stored) in open_file(&folder.join(name))? {
            match weight_map.get(&tensor) {
                Some(shard) if shard == name => tensors.insert(tensor, stored),
                _ => {
                    let reason =
                        format!("tensor `{tensor}` is in `{name}`, where the index does not have it");
                    return Err(Error::format(index, FORMAT, reason));
                }
            };
        }
    }
    match weight_map.iter().filter(|(tensor, _)| !tensors.contains_key(*tensor)).min() {
        Some((tensor, shard)) => {
            Err(Error::format(index, FORMAT, format!("tensor `{tensor}` is not in `{shard}`")))
        }
        None => quantised::scaled(index, unwrapped(tensors)),
    }
}
