//! Files of cloneofsimo's `lora`: layers numbered in the order in which Python found them.
//!
//! `save_safeloras` walks over all modules of the network, takes those whose class the metadata names, and
//! numbers the linear layers inside (in the extended kind, convolutions too). PyTorch walks over modules in
//! the order of their registration, so the numbers depend on the lines of diffusers' constructors:
//!
//! - `UNet2DConditionModel`: `down_blocks`, `up_blocks`, `mid_block` (its place was `None` at first);
//! - blocks: `attentions`, `resnets`;
//! - `BasicTransformerBlock`: `attn1`, `ff`, `attn2` in diffusers 0.11 (January 2023); now `ff` is last;
//! - attention: `to_q`, `to_k`, `to_v`, `to_out`;
//! - `ResnetBlock2D`: `conv1`, `time_emb_proj`, `conv2`, `conv_shortcut`;
//! - transformers' `CLIPAttention`: `k_proj`, `v_proj`, `q_proj`, `out_proj`.
//!
//! Shapes decide between the two orders of a transformer block. They cannot tell equal shapes apart (query
//! and output, or CLIP's four projections); that order is from the sources. A published file agrees: of the
//! three changes that each `CLIPAttention` begins with, the first and the third have nearly the same energy
//! per head (correlation 0.94: keys and queries), the second has that of the fourth's input (0.71: values).

use std::collections::{BTreeMap, BTreeSet};

use super::change::Change;
use super::fit::Fit;
use super::key::Layer;
use super::target::Target;
use super::{LoraFile, ModelShapes, Places, Shapes};
use crate::error::{Error, Result};
use crate::model::ComponentKind;

/// Names of modules in the order of their registration, with the transformer block of early 2023.
const REGISTERED: [&str; 23] = [
    "down_blocks",
    "up_blocks",
    "mid_block",
    "attentions",
    "resnets",
    "attn1",
    "ff",
    "attn2",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "conv1",
    "time_emb_proj",
    "conv2",
    "conv_shortcut",
    "self_attn",
    "mlp",
    "k_proj",
    "v_proj",
    "q_proj",
    "out_proj",
    "fc1",
];

/// Classes by default, where the metadata is lost.
const DEFAULT_CLASSES: [(ComponentKind, &[&str]); 2] = [
    (ComponentKind::Unet, &["CrossAttention", "Attention", "GEGLU"]),
    (ComponentKind::TextEncoder, &["CLIPAttention"]),
];

/// The weight of each numbered layer; empty for files of other kinds.
///
/// # Errors
/// `Error::Format` for a class that is not known, or if the model has another number of such layers.
pub(super) fn places(
    file: LoraFile,
    layers: &BTreeMap<String, Layer>,
    model: &ModelShapes,
) -> Result<Places> {
    let mut places = Places::new();
    for (component, default) in DEFAULT_CLASSES {
        let prefix = format!("{}:", component.folder());
        let numbers: BTreeSet<usize> =
            layers.keys().filter_map(|stem| stem.strip_prefix(&prefix)?.parse().ok()).collect();
        let Some(shapes) = model.get(&component).filter(|_| !numbers.is_empty()) else { continue };
        let classes = classes(file, component, default)?;
        let stem = |n: usize| format!("{prefix}{n}");
        let orders = orders(shapes, &classes);
        let counted: Vec<&Vec<&String>> =
            orders.iter().filter(|order| numbers == (0..order.len()).collect()).collect();
        let fitting = |order: &[&String]| {
            let fits = |(n, target): (usize, &&String)| {
                let change = layers.get(&stem(n)).and_then(|layer| Change::of(layer, file).ok().flatten());
                let fit = Fit { tensors: file.tensors, target, shape: &shapes[*target] };
                change.is_some_and(|change| fit.rank(&change).is_ok())
            };
            order.iter().enumerate().filter(|place| fits(*place)).count()
        };
        // `rev`: of equals, `max_by_key` takes the last. If none fits wholly, the caller reports where the
        // best does not.
        let Some(order) = counted.into_iter().rev().max_by_key(|order| fitting(order)) else {
            return Err(wrong_number(file, component, numbers.len(), &classes, &orders));
        };
        let place = |target: &&String| (component, Target::one(*target));
        places.extend(order.iter().enumerate().map(|(n, target)| (stem(n), place(target))));
    }
    Ok(places)
}

fn wrong_number(
    file: LoraFile,
    component: ComponentKind,
    got: usize,
    classes: &[String],
    orders: &[Vec<&String>],
) -> Error {
    let reason = format!(
        "it numbers {got} layers of `{}`, but the model has {} inside {}",
        component.folder(),
        orders.first().map_or(0, Vec::len),
        classes.join(", ")
    );
    file.fault(reason)
}

fn classes(file: LoraFile, component: ComponentKind, default: &[&str]) -> Result<Vec<String>> {
    let Some(text) = file.metadata.get(component.folder()) else {
        return Ok(default.iter().map(|class| (*class).to_owned()).collect());
    };
    let refuse = |reason: String| file.fault(format!("metadata `{}`: {reason}", component.folder()));
    let classes: Vec<String> = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
    match classes.iter().find(|class| inside(class, "").is_none()) {
        Some(class) => Err(refuse(format!("the class `{class}` is not known here"))),
        None => Ok(classes),
    }
}

/// Whether a layer lies inside a module of the class; `None` for a class that is not known.
fn inside(class: &str, layer: &str) -> Option<bool> {
    let has = |piece: &str| layer.split('.').any(|p| p == piece);
    match class {
        // diffusers renamed the first to the second.
        "CrossAttention" | "Attention" => Some(has("attn1") || has("attn2")),
        "GEGLU" => Some(layer.contains(".ff.net.0.")),
        "ResnetBlock2D" => Some(has("resnets")),
        "CLIPAttention" => Some(has("self_attn")),
        "CLIPMLP" => Some(has("mlp")),
        _ => None,
    }
}

/// The orders that the file may have: of either transformer block, with and without convolutions.
fn orders<'a>(shapes: &'a Shapes, classes: &[String]) -> Vec<Vec<&'a String>> {
    let mut orders = Vec::new();
    for feed_forward_last in [false, true] {
        for convolutions in [true, false] {
            let mut order: Vec<&String> = shapes
                .iter()
                .filter(|(name, shape)| {
                    name.ends_with(".weight") && (shape.len() == 2 || (convolutions && shape.len() == 4))
                })
                .map(|(name, _)| name)
                .filter(|name| classes.iter().any(|class| inside(class, name) == Some(true)))
                .collect();
            order.sort_by_cached_key(|name| registration(name, feed_forward_last));
            if !orders.contains(&order) {
                orders.push(order);
            }
        }
    }
    orders
}

/// The place of a weight in PyTorch's walk: the place of each module on its path among its siblings.
fn registration(name: &str, feed_forward_last: bool) -> Vec<usize> {
    let place = |piece: &str| match piece {
        "ff" if feed_forward_last => REGISTERED.len(),
        _ => REGISTERED.iter().position(|known| *known == piece).unwrap_or(REGISTERED.len()),
    };
    name.split('.').map(|piece| piece.parse().unwrap_or_else(|_| place(piece))).collect()
}
