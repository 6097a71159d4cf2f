//! Tensors of weight files into networks.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::module::Module;

use super::{FieldPath, NamedTensor, Replace, shapes};
use crate::error::{Cause, Error, Result};
use crate::files::StoredTensor;

/// Takes one tensor out of those of a weight file; `model` and `path` are for messages.
///
/// # Errors
/// `Error::Weights` for a tensor that is missing, has another shape, or a number that is not finite.
pub fn take(
    model: &'static str,
    path: &Path,
    tensors: &mut HashMap<String, NamedTensor>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    let wrong = |got: String| Error::weights(model, path, name, format!("{shape:?}"), got);
    let tensor = tensors.remove(name).ok_or_else(|| wrong("missing".into()))?;
    if tensor.shape != shape {
        return Err(wrong(format!("{:?}", tensor.shape)));
    }
    if tensor.values.iter().any(|v| !v.is_finite()) {
        return Err(wrong("numbers that are not finite".into()).because(Cause::NotFinite));
    }
    Ok(tensor.values)
}

/// Puts the tensors of a weight file into a network.
///
/// # Errors
/// `Error::Weights` for the first tensor that is missing, has another shape or a number that is not finite, or
/// that the network does not know; with how many more there are, and the nearest name.
pub fn load<M: Module>(
    module: M,
    model: &'static str,
    path: &Path,
    mut tensors: HashMap<String, StoredTensor>,
) -> Result<M> {
    refuse_misfits(model, path, &shapes(&module), &tensors)?;
    let value =
        |name: String, shape: Vec<usize>| tensors.remove(&name).and_then(|tensor| tensor.reshaped(shape));
    Ok(module.map(&mut Replace { path: FieldPath::default(), value }))
}

/// What [`load`] refuses.
fn refuse_misfits(
    model: &'static str,
    path: &Path,
    ours: &[(String, Vec<usize>)],
    tensors: &HashMap<String, StoredTensor>,
) -> Result<()> {
    let wrong =
        |tensor: &str, expected: String, got: String| Error::weights(model, path, tensor, expected, got);
    let known: HashSet<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    let unknown = |name: &&String| !known.contains(name.as_str()) && !is_counter(name);
    let mut unexpected: Vec<&String> = tensors.keys().filter(unknown).collect();
    unexpected.sort();
    let missing: Vec<&(String, Vec<usize>)> =
        ours.iter().filter(|(name, _)| !tensors.contains_key(name)).collect();
    let more = |n: usize| if n > 1 { format!(" (and {} more)", n - 1) } else { String::new() };
    if let Some((name, shape)) = missing.first() {
        let nearest = nearest(name, unexpected.iter().map(|name| name.as_str()));
        let nearest = nearest.map_or(String::new(), |near| format!("; the nearest name is `{near}`"));
        let got = format!("no such tensor{}{nearest}", more(missing.len()));
        return Err(wrong(name, format!("{shape:?}"), got));
    }
    for (name, shape) in ours {
        let tensor = &tensors[name];
        if !same_shape(tensor.shape(), shape) {
            return Err(wrong(name, format!("{shape:?}"), format!("{:?}", tensor.shape())));
        }
        if !tensor.is_finite() {
            let error = Error::weights(model, path, name, "finite numbers", "NaN or infinity");
            return Err(error.because(Cause::NotFinite));
        }
        // Looked at once; of a mapped file it need not be in memory before it is used.
        tensor.release();
    }
    match unexpected.first() {
        Some(name) => {
            let near = nearest(name, known.iter().copied());
            let near = near.map_or(String::new(), |near| format!("; the nearest name is `{near}`"));
            let expected = format!("no such tensor{near}");
            Err(wrong(name, expected, format!("{:?}{}", tensors[*name].shape(), more(unexpected.len()))))
        }
        None => Ok(()),
    }
}

/// Whether a tensor of this name counts something and is no weight: old transformers versions stored the constant 0..n
/// beside every position embedding, and layers of batch norm, which only discriminators have, count their batches.
pub fn is_counter(name: &str) -> bool {
    ["position_ids", "num_batches_tracked"].iter().any(|end| name.ends_with(end))
}

/// The name that shares the longest beginning and end with `name`, if that is most of it.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let shared = |other: &str| {
        let ahead = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let behind = name.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
        (ahead + behind).min(name.len().min(other.len()))
    };
    let best = names.max_by(|a, b| shared(a).cmp(&shared(b)).then_with(|| b.cmp(a)))?;
    (2 * shared(best) >= name.len()).then_some(best)
}

/// PyTorch's scalars have shape `[]`, ours `[1]`.
fn same_shape(file: &[usize], ours: &[usize]) -> bool {
    file == ours || (file.is_empty() && ours == [1])
}
