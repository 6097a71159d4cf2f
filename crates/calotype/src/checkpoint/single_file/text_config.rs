//! `config.json` of the text towers from the shapes of the original tensors.

use crate::model::ComponentKind;
use serde_json::{Value, json};

use super::architecture::Architecture;
use super::names::{Shapes, heads_of_64};

/// SD 2's config in diffusers has so many of OpenCLIP ViT-H's 24 layers; what comes after is never loaded.
const LAYERS_OF_SD_2: usize = 23;

/// The config of a tower.
///
/// # Errors
/// Text naming the key that is missing.
pub(super) fn config(
    shapes: Shapes,
    component: ComponentKind,
    architecture: Architecture,
) -> Result<Value, String> {
    if component.is_open_clip(architecture) { open_clip(shapes, component) } else { clip(shapes) }
}

fn clip(shapes: Shapes) -> Result<Value, String> {
    // Files from 2022 lack `text_model.`.
    let stem = if shapes.any_under("text_model.") { "text_model." } else { "" };
    let layers = shapes.count(&format!("{stem}encoder.layers."), ".layer_norm1.weight");
    let embedding = format!("{stem}embeddings.token_embedding.weight");
    let width = shapes.side(&embedding, 1)?;
    tower(Tower {
        vocab_size: shapes.side(&embedding, 0)?,
        width,
        positions: shapes.side(&format!("{stem}embeddings.position_embedding.weight"), 0)?,
        intermediate: shapes.side(&format!("{stem}encoder.layers.0.mlp.fc1.weight"), 0)?,
        projection: width,
        layers,
        act: "quick_gelu",
        class: "CLIPTextModel",
    })
}

fn open_clip(shapes: Shapes, component: ComponentKind) -> Result<Value, String> {
    let in_file = shapes.count("transformer.resblocks.", ".ln_1.weight");
    let width = shapes.side("token_embedding.weight", 1)?;
    let projected = shapes.has("text_projection");
    let layers = match (component, projected) {
        (ComponentKind::TextEncoder2, _) => in_file,
        // A tower with its projection is whole, and SD 2 uses all layers but the last; one without was
        // written from a diffusers folder, which has only those that are used.
        (_, true) => in_file.saturating_sub(1).min(LAYERS_OF_SD_2),
        (_, false) => in_file.min(LAYERS_OF_SD_2),
    };
    let projection = match (component, projected) {
        (ComponentKind::TextEncoder2, _) | (_, true) => shapes.side("text_projection", 1)?,
        (_, false) => width,
    };
    tower(Tower {
        vocab_size: shapes.side("token_embedding.weight", 0)?,
        width,
        positions: shapes.side("positional_embedding", 0)?,
        intermediate: shapes.side("transformer.resblocks.0.mlp.c_fc.weight", 0)?,
        projection,
        layers,
        act: "gelu",
        class: if component == ComponentKind::TextEncoder2 {
            "CLIPTextModelWithProjection"
        } else {
            "CLIPTextModel"
        },
    })
}

struct Tower {
    vocab_size: usize,
    width: usize,
    positions: usize,
    intermediate: usize,
    projection: usize,
    layers: usize,
    act: &'static str,
    class: &'static str,
}

fn tower(tower: Tower) -> Result<Value, String> {
    if tower.layers == 0 {
        return Err("the text encoder: expected at least one layer that is used, got none".into());
    }
    Ok(json!({
        "architectures": [tower.class],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        // 2 means "the largest id" to transformers, and is what the models' own configs have.
        "eos_token_id": 2,
        "hidden_act": tower.act,
        "hidden_size": tower.width,
        "intermediate_size": tower.intermediate,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": tower.positions,
        "model_type": "clip_text_model",
        "num_attention_heads": heads_of_64(tower.width),
        "num_hidden_layers": tower.layers,
        "pad_token_id": 1,
        "projection_dim": tower.projection,
        "vocab_size": tower.vocab_size,
    }))
}
