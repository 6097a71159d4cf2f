//! Flux.1's transformer written under Black Forest Labs' names.

use std::collections::BTreeSet;
use std::path::Path;

use super::names::{Entry, Parts, entries};
use crate::checkpoint::{Checkpoint, StoredComponent, write as layouts};
use crate::denoiser::flux::FluxConfig;
use crate::error::{Error, Result};
use crate::files::gguf::TensorType;
use crate::files::{Stack, Storage, safetensors};
use crate::model::ComponentKind;

/// Writes the transformer of a checkpoint, without a prefix before its names. The header has its config, which names
/// and sizes of tensors do not tell in full.
///
/// # Errors
/// `Error::Io`; those of [`stacks`]; `Error::Weights` for rows of several dtypes in one tensor, unless `storage` is given.
pub fn write(checkpoint: &Checkpoint, path: &Path, storage: Option<Storage>) -> Result<()> {
    let stored = checkpoint.component(ComponentKind::Transformer)?;
    let mut stacks = stacks(stored)?;
    for stack in &mut stacks {
        let storage = storage.or(stack.storage()).ok_or_else(|| several_types(stored, &stack.name))?;
        stack.kind = TensorType::Plain(storage);
    }
    safetensors::write_stacks(path, stacks, layouts::header(checkpoint, &[ComponentKind::Transformer]))
}

/// That the rows of a tensor come in several types.
pub fn several_types(stored: &StoredComponent, name: &str) -> Error {
    let expected = "rows of one dtype (--dtype stores all so)";
    Error::weights("single-file", &stored.path, name, expected, "rows of several")
}

/// The tensors of such a file, each in the dtype of its first rows.
///
/// # Errors
/// `Error::Config`; `Error::Weights` for a tensor that is missing, or that such files have no place for.
pub fn stacks(stored: &StoredComponent) -> Result<Vec<Stack<'_>>> {
    let config: FluxConfig = stored.typed_config()?;
    config.validate()?;
    let entries = entries(Parts {
        double: config.num_layers,
        single: config.num_single_layers,
        guidance: config.guidance_embeds,
    });
    let stacks = entries.iter().map(|entry| stack(entry, stored)).collect::<Result<Vec<_>>>()?;
    let known: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.names).collect();
    match stored.weights.keys().filter(|name| !known.contains(name)).min() {
        None => Ok(stacks),
        Some(name) => {
            let got = format!("{:?}", stored.weights[name].shape());
            Err(Error::weights("single-file", &stored.path, name, "a tensor of Flux.1", got))
        }
    }
}

/// The tensors of an entry, one below the other.
fn stack<'a>(entry: &Entry, stored: &'a StoredComponent) -> Result<Stack<'a>> {
    let wrong = |name: &str, expected: String, got: String| {
        Error::weights("single-file", &stored.path, name, expected, got)
    };
    let of = |name: &String| {
        let tensor = stored.weights.get(name);
        let tensor =
            tensor.ok_or_else(|| wrong(name, "a tensor of Flux.1".into(), "no such tensor".into()))?;
        Ok((tensor, 0..tensor.shape().first().copied().unwrap_or(0)))
    };
    let mut parts = entry.names.iter().map(of).collect::<Result<Vec<_>>>()?;
    let shape = |i: usize| format!("{:?}", stored.weights[&entry.names[i]].shape());
    if entry.swapped {
        let (tensor, rows) = parts.remove(0);
        if !rows.len().is_multiple_of(2) {
            return Err(wrong(&entry.names[0], "two halves of rows".into(), shape(0)));
        }
        let half = rows.len() / 2;
        parts = vec![(tensor, half..rows.len()), (tensor, 0..half)];
    }
    let unlike = parts.iter().position(|(tensor, _)| tensor.shape().get(1..) != parts[0].0.shape().get(1..));
    Stack::of_rows(&entry.key, parts).ok_or_else(|| {
        let (i, first) = (unlike.unwrap_or(0), shape(0));
        wrong(&entry.names[i], format!("rows as those of `{}`, {first}", entry.names[0]), shape(i))
    })
}
