//! What a file seems to be for, where it does not fit: another family of models, or no model's layers at all.

use std::collections::BTreeMap;

use super::key::{Layer, Role};
use super::{LoraFile, ModelShapes, Places};
use crate::error::Result;
use crate::model::ComponentKind;
use crate::text_encoder::textual_inversion::is_name_of_rows;

/// Marks of diffusion transformers in names.
const TRANSFORMER_MARKS: [(&str, &str); 4] = [
    ("double_blocks", "Flux"),
    ("single_blocks", "Flux"),
    ("single_transformer_blocks", "Flux"),
    ("joint_blocks", "Stable Diffusion 3"),
];

/// Beginnings of names of diffusion transformers.
const TRANSFORMER_STARTS: [&str; 4] =
    ["transformer.", "lora_transformer_", "base_model.model.transformer.", "lora_te3_"];

/// Refuses a file for another kind of denoiser.
///
/// # Errors
/// `Error::Format` if the file is for a diffusion transformer and not for a U-Net.
pub(super) fn refuse_transformers(file: LoraFile) -> Result<()> {
    let found = file.tensors.keys().find_map(|name| {
        let marked = TRANSFORMER_MARKS.iter().find(|(mark, _)| name.contains(mark)).map(|(_, of)| *of);
        let started = TRANSFORMER_STARTS.iter().any(|start| name.starts_with(start));
        marked.or(started.then_some("Flux, Stable Diffusion 3 or alike")).map(|of| (name, of))
    });
    match found {
        None => Ok(()),
        Some((name, of)) => {
            let reason =
                format!("`{name}` is of a diffusion transformer ({of}); the model's denoiser is a U-Net");
            Err(file.fault(reason))
        }
    }
}

/// Whether a file of which nothing belongs to the model seems to be a learned word (textual inversion).
pub(super) fn is_learned_word(file: LoraFile) -> bool {
    let alone = file.tensors.len() == 1 && file.tensors.values().all(|shape| matches!(shape.len(), 1 | 2));
    alone || file.tensors.keys().any(|name| is_name_of_rows(name))
}

/// The end of a message: what the file seems to be for, and what the model is, if they differ.
pub(super) fn note(
    file: LoraFile,
    layers: &BTreeMap<String, Layer>,
    places: &Places,
    model: &ModelShapes,
) -> Option<String> {
    let of_file = layers.iter().find_map(|(stem, layer)| {
        let name = places.get(stem).map_or(stem.as_str(), |(_, target)| target.trim_end_matches(".weight"));
        let inner = layer.get(Role::Down).or(layer.get(Role::HadaB1));
        let shape = file.tensors.get(inner?)?;
        is_context_key(name).then(|| shape.get(1).copied()).flatten()
    })?;
    let of_model = model.get(&ComponentKind::Unet)?.iter().find_map(|(name, shape)| {
        is_context_key(name.trim_end_matches(".weight")).then(|| shape.get(1).copied()).flatten()
    })?;
    (of_file != of_model).then(|| {
        format!(
            "\n  the file looks like a LoRA for {} (context width {of_file}), the model like {} ({of_model})",
            family(of_file),
            family(of_model)
        )
    })
}

/// Whether a layer reads the text: the keys of a cross-attention.
fn is_context_key(layer: &str) -> bool {
    layer.contains("attn2") && (layer.ends_with("to_k") || layer.ends_with("to_v"))
}

/// The family with this width of the text's hidden states.
fn family(context_width: usize) -> &'static str {
    match context_width {
        768 => "Stable Diffusion 1",
        1024 => "Stable Diffusion 2",
        1280 => "the refiner of Stable Diffusion XL",
        2048 => "Stable Diffusion XL",
        _ => "another model",
    }
}
