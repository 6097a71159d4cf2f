//! Which weight each tensor of a LoRA file changes: a pure map over names and shapes.
//!
//! Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) trains, beside a weight `W`, two thin matrices:
//! `W += weight · (alpha / rank) · up · down`. [`change`] has what came after it, of which LyCORIS has most. Names are
//! another matter in every program; [`assign`] reads those that are in use:
//!
//! | made by | a name |
//! |---|---|
//! | kohya's sd-scripts | `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, `lora_te1_…`, `….alpha` |
//! | the same for XL | `lora_unet_input_blocks_4_1_…` (Stability's names of the blocks) |
//! | LyCORIS | the same with `.hada_w1_a`, `.lokr_w1`, `.diff`, …; `lycoris_down_blocks_0_…` |
//! | diffusers, old | `unet.….attn1.processor.to_q_lora.down.weight` |
//! | diffusers | `unet.….to_q.lora.down.weight`, `text_encoder.….q_proj.lora_linear_layer.down.weight` |
//! | PEFT, diffusers with PEFT | `base_model.model.….to_q.lora_A.weight`, `unet.….to_q.lora_A.weight` |
//! | cloneofsimo's lora | `unet:17:down`: numbered, see `numbered.rs` |
//! | for Flux: diffusers, PEFT, ai-toolkit | `transformer.transformer_blocks.0.attn.to_q.lora_A.weight` |
//! | OneTrainer | `lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight` |
//! | kohya, ComfyUI, Control LoRAs, x-flux | Black Forest Labs' names, see `flux.rs` |
//!
//! Names are looked up among the model's own, spelled in each of these ways; nothing is guessed.

mod adapter_config;
pub mod bundle;
pub mod change;
mod delta;
pub mod dora;
pub mod entry;
mod family;
mod fit;
mod flux;
mod key;
pub mod matrix;
pub(super) mod merge;
mod method;
mod model_index;
pub mod names;
mod numbered;
mod stability;
pub mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Cause, Error, Result};
use crate::model::ComponentKind;
use adapter_config::AdapterConfig;
use change::Change;
use entry::Entry;
use key::{Layer, Stem};
use model_index::ModelIndex;
use target::Target;

/// Name of the format in messages.
const FORMAT: &str = "LoRA";

/// Tensor shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What a LoRA file does to a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assignment {
    /// The changes, no two of the same weight; by component and names of the weights.
    pub entries: Vec<Entry>,
    /// Layers that they belong to: one may change its weight and its bias.
    pub layers: usize,
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
/// `Error::Format` if nothing matches, for OFT, GLoRA and other adapters that are not known here, for a LoRA of another
/// denoiser, a layer of which a tensor is missing, a weight named twice, or a numbering that does not fit;
/// `Error::Shape` for a tensor that does not fit its weight, with the model that the file seems to be for.
pub fn assign(file: LoraFile, model: &ModelShapes) -> Result<Assignment> {
    method::refuse_others(file)?;
    family::refuse_other_denoisers(file, model)?;
    let config = AdapterConfig::new(file)?;
    let (layers, other) = key::layers(file)?;
    let places = places(file, &layers, model)?;
    if places.is_empty() {
        return Err(nothing_matched(file, &layers, model));
    }
    let mut assignment = Assignment { unmatched: other, ..Assignment::default() };
    for (stem, layer) in &layers {
        let change = Change::of(layer, file)?;
        let Some((component, target)) = places.get(stem) else {
            assignment.unmatched.extend(layer.names().cloned());
            continue;
        };
        let alpha = |rank| config.alpha(*component, &Stem::parse(stem).dotted, rank);
        let entries = entry::of_layer(file, layer, change, alpha, (*component, target), &model[component])
            .map_err(|misfit| misfit.error(file.path, family::note(file, &layers, &places, model)))?;
        assignment.entries.extend(entries);
        assignment.layers += 1;
    }
    assignment.entries.sort_by(|x, y| (x.component, &x.target.names).cmp(&(y.component, &y.target.names)));
    assignment.unmatched.sort();
    config.check_magnitudes(file, &assignment.entries)?;
    Ok(assignment)
}

pub use adapter_config::ADAPTER_CONFIG;

/// The weight of each layer of the file, by the layer's stem.
type Places = BTreeMap<String, (ComponentKind, Target)>;

fn places(file: LoraFile, layers: &BTreeMap<String, Layer>, model: &ModelShapes) -> Result<Places> {
    let index = ModelIndex::new(model);
    let mut places = numbered::places(file, layers, model)?;
    let of_place = |(component, target): &(ComponentKind, Target)| {
        let component = *component;
        target.names.clone().into_iter().map(move |name| (component, name))
    };
    let mut taken: BTreeSet<(ComponentKind, String)> = places.values().flat_map(of_place).collect();
    for (stem, layer) in layers {
        if !layer.changes_something() || places.contains_key(stem) {
            continue;
        }
        let parsed = Stem::parse(stem);
        let axes =
            |component, target: &Target| target.shape(&model[&component]).map_or(0, |shape| shape.len());
        let place = match index.find(parsed.components, &parsed.dotted)[..] {
            [] => continue,
            // Norms have one number for each channel: none of the other changes can be meant.
            [(component, target)] if axes(component, target) < 2 && !layer.is_difference() => continue,
            [(component, target)] => (component, target.clone()),
            _ => {
                let reason = format!("`{stem}` is in both text encoders of the model and does not say which");
                return Err(file.fault(reason));
            }
        };
        if let Some((_, weight)) = of_place(&place).find(|weight| !taken.insert(weight.clone())) {
            let reason = format!("two of its layers change `{weight}`; the second is `{stem}`");
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
    let error = file.fault(reason);
    if family::is_learned_word(file) { error.because(Cause::IsEmbedding) } else { error }
}
