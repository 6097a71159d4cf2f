//! What a file seems to be for, where it does not fit: another family of models, or no model's layers at all.

use std::collections::BTreeMap;

use super::key::{Layer, Role};
use super::{LoraFile, ModelShapes, Places, Shapes, flux};
use crate::error::{Cause, Result};
use crate::model::ComponentKind;
use crate::text_encoder::textual_inversion::is_name_of_rows;

/// Marks of other denoisers in names, where the model's is a U-Net.
const NOT_OF_UNETS: [(&str, &str); 4] = [
    ("double_blocks", "a diffusion transformer (Flux)"),
    ("single_blocks", "a diffusion transformer (Flux)"),
    ("single_transformer_blocks", "a diffusion transformer (Flux)"),
    ("joint_blocks", "a diffusion transformer (Stable Diffusion 3)"),
];

/// The same where it is Flux's transformer.
const NOT_OF_FLUX: [(&str, &str); 17] = [
    ("down_blocks", "a U-Net (Stable Diffusion)"),
    ("up_blocks", "a U-Net (Stable Diffusion)"),
    ("mid_block", "a U-Net (Stable Diffusion)"),
    ("input_blocks", "a U-Net (Stable Diffusion)"),
    ("middle_block", "a U-Net (Stable Diffusion)"),
    ("output_blocks", "a U-Net (Stable Diffusion)"),
    ("unet:", "a U-Net (Stable Diffusion)"),
    ("joint_blocks", "another transformer (Stable Diffusion 3)"),
    ("to_qkv_mlp_proj", "another transformer (Flux 2)"),
    ("double_stream_modulation", "another transformer (Flux 2)"),
    ("single_stream_modulation", "another transformer (Flux 2)"),
    ("distilled_guidance_layer", "another transformer (Chroma)"),
    // As wide as Flux, with blocks of which some layers have Flux's names.
    ("img_mlp.net", "another transformer (Qwen-Image)"),
    ("img_mod.1", "another transformer (Qwen-Image)"),
    (".img_attn_qkv", "another transformer (HunyuanVideo)"),
    ("img_mlp_fc1", "another transformer (HunyuanVideo)"),
    ("img_mlp.fc1", "another transformer (HunyuanVideo)"),
];

/// Beginnings of names of diffusion transformers.
const TRANSFORMER_STARTS: [&str; 4] =
    ["transformer.", "lora_transformer_", "base_model.model.transformer.", "lora_te3_"];

/// Refuses a file for another kind of denoiser.
///
/// # Errors
/// `Error::Format` if the file is for a diffusion transformer and the model has a U-Net, or the other way round.
pub(super) fn refuse_other_denoisers(file: LoraFile, model: &ModelShapes) -> Result<()> {
    let of_flux = model.contains_key(&ComponentKind::Transformer);
    let (marks, own) = if of_flux {
        (&NOT_OF_FLUX[..], "the transformer of Flux.1")
    } else {
        (&NOT_OF_UNETS[..], "a U-Net")
    };
    let found = file.tensors.keys().find_map(|name| {
        let marked = marks.iter().find(|(mark, _)| name.contains(mark)).map(|(_, of)| *of);
        let started = !of_flux && TRANSFORMER_STARTS.iter().any(|start| name.starts_with(start));
        let other = "a diffusion transformer (Flux, Stable Diffusion 3 or alike)";
        marked.or(started.then_some(other)).map(|of| (name, of))
    });
    match found {
        None => Ok(()),
        Some((name, of)) => {
            let reason = format!("`{name}` is of {of}; the model's denoiser is {own}");
            Err(file.fault(reason).because(Cause::LoraOfAnotherModel))
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
    if let Some(transformer) = model.get(&ComponentKind::Transformer) {
        return note_of_flux(file, layers, places, transformer);
    }
    let of_file = layers.iter().find_map(|(stem, layer)| {
        let name = places.get(stem).map_or(stem.as_str(), |(_, target)| layer_of(&target.names[0]));
        let inputs = inputs(file, layer);
        is_context_key(name).then_some(inputs).flatten()
    })?;
    let of_model = model
        .get(&ComponentKind::Unet)?
        .iter()
        .find_map(|(name, shape)| is_context_key(layer_of(name)).then(|| shape.get(1).copied()).flatten())?;
    (of_file != of_model).then(|| {
        format!(
            "\n  the file looks like a LoRA for {} (context width {of_file}), the model like {} ({of_model})",
            family(of_file),
            family(of_model)
        )
    })
}

/// The same for Flux: its width, or what its tokens hold.
fn note_of_flux(
    file: LoraFile,
    layers: &BTreeMap<String, Layer>,
    places: &Places,
    transformer: &Shapes,
) -> Option<String> {
    let (tokens, width) = flux::sizes(transformer)?;
    let mut sizes = layers.iter().filter_map(|(stem, layer)| {
        let (component, target) = places.get(stem)?;
        (*component == ComponentKind::Transformer).then_some(())?;
        Some((target, target.shape(transformer)?.get(1).copied()?, inputs(file, layer)?))
    });
    let (target, _, of_file) =
        sizes.find(|(target, own, of_file)| own != of_file && (*own == width || flux::is_first(target)))?;
    Some(if flux::is_first(target) {
        let kind = match of_file {
            64 => "as of FLUX.1-dev and schnell",
            128 => "as of FLUX.1-Depth, Canny and Control LoRAs",
            384 => "as of FLUX.1-Fill",
            _ => "as of another model",
        };
        format!(
            "\n  the file is for tokens of {of_file} numbers, {kind}; the model's have {tokens}: merge it into a model \
             whose in_channels is {of_file}"
        )
    } else {
        format!(
            "\n  the file looks like a LoRA for a transformer of width {of_file}, the model's is {width}: take one that \
             was trained for this model"
        )
    })
}

/// How many columns the first matrix of a layer's change has.
fn inputs(file: LoraFile, layer: &Layer) -> Option<usize> {
    let inner = layer.get(Role::Down).or(layer.get(Role::HadaB1))?;
    file.tensors.get(inner)?.get(1).copied()
}

fn layer_of(weight: &str) -> &str {
    weight.trim_end_matches(".weight")
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
