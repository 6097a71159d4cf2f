//! Names of the text towers' tensors.
//!
//! SD 1 and the first tower of SDXL are transformers' `CLIPTextModel`, names and all. SD 2 and the second
//! tower of SDXL are OpenCLIP's: queries, keys and values lie in one tensor, and the projection to the shared
//! space is a matrix that features (rows) are multiplied by, the transpose of a linear layer's weight.

use super::change::Change;
use super::layout::KeyLayout;
use super::names::{is_parameter, numbered, renamed, renamed_back};
use crate::model::ComponentKind;

/// (OpenCLIP, transformers), outside the layers; the two embeddings' `weight` is on one side only.
const WHOLE: [(&str, &str); 2] = [
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
];

/// (OpenCLIP, transformers), in a layer.
const LAYER: [(&str, &str); 5] = [
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// Queries, keys and values in the order in which OpenCLIP packs them.
const PACKED: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// transformers' name, with `text_model.`, of `key`, which stands without the tower's prefix. Files from 2022
/// lack `text_model.` too.
pub(super) fn clip_to_transformers(key: &str, layout: &KeyLayout) -> Option<String> {
    let name = key.strip_prefix("text_model.").unwrap_or(key);
    is_clip(name, layout.text_layers).then(|| format!("text_model.{name}"))
}

/// The key, without the tower's prefix, of transformers' `name`.
pub(super) fn transformers_to_clip(name: &str, layout: &KeyLayout) -> Option<String> {
    clip_to_transformers(name, layout)
}

/// transformers' names of OpenCLIP's `key`, which stands without the tower's prefix.
pub(super) fn open_clip_to_transformers(
    key: &str,
    component: ComponentKind,
    layout: &KeyLayout,
) -> Option<Vec<(String, Change)>> {
    let one = |name: String| Some(vec![(name, Change::None)]);
    if key == "text_projection" && component == ComponentKind::TextEncoder2 {
        return Some(vec![("text_projection.weight".into(), Change::Transpose)]);
    }
    if let Some((_, name)) = WHOLE.iter().find(|(old, _)| *old == key) {
        return one(format!("text_model.{name}"));
    }
    if let Some(name) = renamed(key, &[("ln_final", "final_layer_norm")]) {
        return one(format!("text_model.{name}"));
    }
    let (layer, inner) = numbered(key, "transformer.resblocks.")?;
    if layer >= layers(component, layout) {
        return None;
    }
    let stem = format!("text_model.encoder.layers.{layer}");
    match inner.strip_prefix("attn.in_proj_") {
        Some(parameter) if is_parameter(parameter) => {
            let third = |(i, name): (usize, &&str)| {
                (format!("{stem}.self_attn.{name}.{parameter}"), Change::Third(i))
            };
            Some(PACKED.iter().enumerate().map(third).collect())
        }
        _ => one(format!("{stem}.{}", renamed(inner, &LAYER)?)),
    }
}

/// OpenCLIP's key, without the tower's prefix, of transformers' `name`.
pub(super) fn transformers_to_open_clip(
    name: &str,
    component: ComponentKind,
    layout: &KeyLayout,
) -> Option<(String, Change)> {
    if name == "text_projection.weight" && component == ComponentKind::TextEncoder2 {
        return Some(("text_projection".into(), Change::Transpose));
    }
    let name = name.strip_prefix("text_model.").unwrap_or(name);
    if let Some((key, _)) = WHOLE.iter().find(|(_, new)| *new == name) {
        return Some(((*key).into(), Change::None));
    }
    if let Some(key) = renamed_back(name, &[("ln_final", "final_layer_norm")]) {
        return Some((key, Change::None));
    }
    let (layer, inner) = numbered(name, "encoder.layers.")?;
    if layer >= layers(component, layout) {
        return None;
    }
    let stem = format!("transformer.resblocks.{layer}");
    if let Some((projection, parameter)) = inner.strip_prefix("self_attn.").and_then(|t| t.split_once('.'))
        && let Some(third) = PACKED.iter().position(|packed| *packed == projection)
    {
        let key = format!("{stem}.attn.in_proj_{parameter}");
        return is_parameter(parameter).then_some((key, Change::Third(third)));
    }
    Some((format!("{stem}.{}", renamed_back(inner, &LAYER)?), Change::None))
}

fn layers(component: ComponentKind, layout: &KeyLayout) -> usize {
    match component {
        ComponentKind::TextEncoder2 => layout.text_layers_2,
        _ => layout.text_layers,
    }
}

/// Whether `name`, without `text_model.`, is a parameter of a `CLIPTextModel` of so many layers.
fn is_clip(name: &str, layers: usize) -> bool {
    if WHOLE.iter().any(|(_, new)| *new == name) {
        return true;
    }
    let Some((layer, parameter)) = name.rsplit_once('.') else { return false };
    let known = match numbered(layer, "encoder.layers.") {
        None => layer == "final_layer_norm",
        Some((i, inner)) => {
            let packed = inner.strip_prefix("self_attn.").is_some_and(|inner| PACKED.contains(&inner));
            i < layers && (packed || LAYER.iter().any(|(_, new)| *new == inner))
        }
    };
    known && is_parameter(parameter)
}
