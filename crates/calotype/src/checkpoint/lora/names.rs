//! The names that we write: kohya's, which every program reads.

use crate::model::ComponentKind;

/// The layer of a weight in kohya's spelling: `lora_unet_down_blocks_0_…_to_q`.
///
/// The tensors of the layer are this name with `.lora_down.weight`, `.lora_up.weight` and `.alpha`.
/// `weight_name` is the weight's name in diffusers or transformers, with or without `.weight`; names of a
/// text encoder as transformers 5 has them get the `text_model.` that readers look for. The first text
/// encoder is `lora_te`, as in files for models with one.
pub fn kohya_name(component: ComponentKind, weight_name: &str) -> String {
    let tag = match component {
        ComponentKind::Unet => "unet",
        ComponentKind::Transformer => "transformer",
        ComponentKind::Vae => "vae",
        ComponentKind::TextEncoder => "te",
        ComponentKind::TextEncoder2 => "te2",
    };
    let layer = weight_name.strip_suffix(".weight").unwrap_or(weight_name);
    let inside = ["encoder.", "embeddings.", "final_layer_norm"].iter().any(|start| layer.starts_with(start));
    let prefix = if component != ComponentKind::Unet && inside { "text_model_" } else { "" };
    format!("lora_{tag}_{prefix}{}", layer.replace('.', "_"))
}
