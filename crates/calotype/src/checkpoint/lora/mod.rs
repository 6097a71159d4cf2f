//! Which weight each tensor of a LoRA file changes: a pure map over names and shapes.
//!
//! Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) trains, beside a weight `W`, two thin matrices:
//! `W += weight · (alpha / rank) · up · down`. The files of the last years agree on that and on nothing else;
//! [`assign`] reads the ways of naming that are in use:
//!
//! | made by | a name |
//! |---|---|
//! | kohya's sd-scripts | `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, `lora_te1_…`, `….alpha` |
//! | the same for XL | `lora_unet_input_blocks_4_1_…` (Stability's names of the blocks) |
//! | diffusers, old | `unet.….attn1.processor.to_q_lora.down.weight` |
//! | diffusers | `unet.….to_q.lora.down.weight`, `text_encoder.….q_proj.lora_linear_layer.down.weight` |
//! | PEFT, diffusers with PEFT | `base_model.model.….to_q.lora_A.weight`, `unet.….to_q.lora_A.weight` |
//! | cloneofsimo's lora | `unet:17:down`: numbered, see `numbered.rs` |
//!
//! Names are looked up among the model's own, spelled in each of these ways; nothing is guessed.

mod adapter_config;
mod family;
mod fit;
mod key;
pub(super) mod merge;
mod method;
mod model_index;
pub mod names;
mod numbered;
mod stability;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Result};
use crate::model::ComponentKind;
use adapter_config::AdapterConfig;
use key::{Layer, Stem};
use model_index::ModelIndex;

/// Name of the format in messages.
const FORMAT: &str = "LoRA";

/// Tensor shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The numerator of the scale `alpha / rank`.
#[derive(Debug, Clone, PartialEq)]
pub enum Alpha {
    /// The scalar tensor of this name in the file.
    Tensor(String),
    /// A number from the file's metadata, or from the configuration beside the file.
    Value(f64),
}

/// A change of one weight: `W += weight · (alpha / rank) · up · down`.
///
/// With weights as matrices `[out, in·k·k]`. If there is a `mid`, with `W` of shape `[out, in, k, k]`:
/// `W[o, i] += weight · (alpha / rank) · Σ_ab up[o, a] · mid[a, b] · down[b, i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The network that has the weight.
    pub component: ComponentKind,
    /// Name of the weight in the network.
    pub target: String,
    /// Tensor `[rank, in]` or `[rank, in, k, k]`; `[rank, in, 1, 1]` for a linear layer or with `mid`.
    pub down: String,
    /// Tensor `[out, rank]` or `[out, rank, 1, 1]`.
    pub up: String,
    /// Tensor `[rank, rank, k, k]` between the two: LyCORIS' Tucker form of a convolution.
    pub mid: Option<String>,
    /// The scale's numerator; absent, it is the rank, and the scale 1.
    pub alpha: Option<Alpha>,
    /// Rows of `down`.
    pub rank: usize,
}

/// What a LoRA file does to a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assignment {
    /// The changes, no two of the same weight; by component and name of the weight.
    pub entries: Vec<Entry>,
    /// Tensors of the file that belong to no weight of the model, by name.
    pub unmatched: Vec<String>,
}

/// A LoRA file, as far as names, shapes and texts go.
#[derive(Debug, Clone, Copy)]
pub struct LoraFile<'a> {
    /// Where it lies, for messages.
    pub path: &'a Path,
    /// Its tensors.
    pub tensors: &'a Shapes,
    /// The texts of the safetensors header. The text of PEFT's `adapter_config.json`, where one lies beside the
    /// file, stands under [`ADAPTER_CONFIG`].
    pub metadata: &'a BTreeMap<String, String>,
}

impl LoraFile<'_> {
    /// Why it cannot be used.
    fn fault(self, reason: impl ToString) -> Error {
        Error::format(self.path, FORMAT, reason)
    }
}

/// Names (diffusers', transformers') and shapes of the weights of each component of a model.
pub type ModelShapes = BTreeMap<ComponentKind, Shapes>;

/// Finds the weight of every tensor of a LoRA file.
///
/// # Errors
/// `Error::Format` if nothing matches, for DoRA, LoHa, LoKr and other adapters than LoRA, for a LoRA of a
/// transformer, a layer with one of `down` and `up`, a weight named twice, or a numbering that does not fit;
/// `Error::Shape` for a tensor that does not fit its weight, with the model that the file seems to be for.
pub fn assign(file: LoraFile, model: &ModelShapes) -> Result<Assignment> {
    method::refuse_others(file)?;
    family::refuse_transformers(file)?;
    let config = AdapterConfig::new(file)?;
    let (layers, other) = key::layers(file)?;
    let places = places(file, &layers, model)?;
    if places.is_empty() {
        return Err(nothing_matched(file, &layers, model));
    }
    let mut assignment = Assignment { unmatched: other, ..Assignment::default() };
    for (stem, layer) in &layers {
        match (places.get(stem), &layer.down, &layer.up) {
            (Some((component, target)), Some(down), Some(up)) => {
                let shape = &model[component][target];
                let rank = fit::rank(file.tensors, layer, target, shape)
                    .map_err(|misfit| misfit.error(file.path, family::note(file, &layers, &places, model)))?;
                let of_config =
                    || config.alpha(*component, &Stem::parse(stem).dotted, rank).map(Alpha::Value);
                assignment.entries.push(Entry {
                    component: *component,
                    target: target.clone(),
                    down: down.clone(),
                    up: up.clone(),
                    mid: layer.mid.clone(),
                    alpha: layer.alpha.clone().map(Alpha::Tensor).or_else(of_config),
                    rank,
                });
            }
            _ => assignment.unmatched.extend(layer.names().cloned()),
        }
    }
    assignment.entries.sort_by(|x, y| (x.component, &x.target).cmp(&(y.component, &y.target)));
    assignment.unmatched.sort();
    Ok(assignment)
}

pub use adapter_config::ADAPTER_CONFIG;

/// The weight of each layer of the file, by the layer's stem.
type Places = BTreeMap<String, (ComponentKind, String)>;

fn places(file: LoraFile, layers: &BTreeMap<String, Layer>, model: &ModelShapes) -> Result<Places> {
    let index = ModelIndex::new(model);
    let mut places = numbered::places(file, layers, model)?;
    let mut taken: BTreeSet<(ComponentKind, String)> = places.values().cloned().collect();
    for (stem, layer) in layers {
        if layer.down.is_none() || places.contains_key(stem) {
            continue;
        }
        let parsed = Stem::parse(stem);
        let place = match index.find(parsed.component, &parsed.dotted)[..] {
            [] => continue,
            [(component, target)] => (component, target.to_owned()),
            _ => {
                let reason = format!("`{stem}` is in both text encoders of the model and does not say which");
                return Err(file.fault(reason));
            }
        };
        if !taken.insert(place.clone()) {
            let reason = format!("two of its layers change `{}`; the second is `{stem}`", place.1);
            return Err(file.fault(reason));
        }
        places.insert(stem.clone(), place);
    }
    Ok(places)
}

fn nothing_matched(file: LoraFile, layers: &BTreeMap<String, Layer>, model: &ModelShapes) -> Error {
    let note = family::note(file, layers, &Places::new(), model);
    let first = file.tensors.keys().next().map_or("nothing".to_owned(), |name| format!("`{name}`"));
    let reason = format!(
        "none of its {} tensors belongs to the model (the first is {first}){}",
        file.tensors.len(),
        note.unwrap_or_default()
    );
    file.fault(reason)
}
