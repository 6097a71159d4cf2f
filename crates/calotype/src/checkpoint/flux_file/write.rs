//! Flux.1's transformer written under Black Forest Labs' names.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::json;

use super::names::{Entry, Parts, entries};
use crate::checkpoint::{CONFIGS, Checkpoint, SCHEDULER, StoredComponent};
use crate::denoiser::flux::FluxConfig;
use crate::error::{Error, Result};
use crate::files::safetensors::{self, Stack};
use crate::model::ComponentKind;

/// Writes the transformer of a checkpoint, without a prefix before its names. The header has its config, which names
/// and sizes of tensors do not tell in full.
///
/// # Errors
/// `Error::Io`; `Error::Weights` for a tensor that is missing, or that such files have no place for.
pub fn write(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    let stored = checkpoint.component(ComponentKind::Transformer)?;
    let config: FluxConfig = stored.typed_config()?;
    config.validate()?;
    let entries = entries(Parts {
        double: config.num_layers,
        single: config.num_single_layers,
        guidance: config.guidance_embeds,
    });
    let stacks = entries.iter().map(|entry| stack(entry, stored)).collect::<Result<Vec<_>>>()?;
    let known: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.names).collect();
    if let Some(name) = stored.weights.keys().filter(|name| !known.contains(name)).min() {
        let got = format!("{:?}", stored.weights[name].shape());
        return Err(Error::weights("single-file", &stored.path, name, "a tensor of Flux.1", got));
    }
    let configs = json!({ ComponentKind::Transformer.folder(): stored.config });
    let metadata = HashMap::from([
        (CONFIGS.to_owned(), configs.to_string()),
        (SCHEDULER.to_owned(), checkpoint.scheduler.clone()),
    ]);
    safetensors::write_stacks(path, stacks, metadata)
}

/// The tensors of an entry, one below the other.
fn stack<'a>(entry: &'a Entry, stored: &'a StoredComponent) -> Result<Stack<'a>> {
    let wrong = |name: &str, expected: String, got: String| {
        Error::weights("single-file", &stored.path, name, expected, got)
    };
    let of = |name: &String| {
        stored
            .weights
            .get(name)
            .ok_or_else(|| wrong(name, "a tensor of Flux.1".into(), "no such tensor".into()))
    };
    let tensors = entry.names.iter().map(of).collect::<Result<Vec<_>>>()?;
    let first = tensors[0];
    let mut rows = 0;
    for (name, tensor) in entry.names.iter().zip(&tensors) {
        let (shape, like) = (tensor.shape(), first.shape());
        let halved = !entry.swapped || shape.first().is_some_and(|rows| rows.is_multiple_of(2));
        if shape.is_empty()
            || shape.get(1..) != like.get(1..)
            || tensor.storage() != first.storage()
            || !halved
        {
            let expected = format!("rows as those of `{}`, {like:?} in {}", entry.names[0], first.storage());
            return Err(wrong(name, expected, format!("{shape:?} in {}", tensor.storage())));
        }
        rows += shape[0];
    }
    let parts = if entry.swapped {
        let (scale, shift) = (0..rows / 2, rows / 2..rows);
        vec![(first, shift), (first, scale)]
    } else {
        tensors.iter().map(|&tensor| (tensor, 0..tensor.shape()[0])).collect()
    };
    let shape = std::iter::once(rows).chain(first.shape()[1..].iter().copied()).collect();
    Ok(Stack { name: &entry.key, shape, storage: first.storage(), parts })
}
