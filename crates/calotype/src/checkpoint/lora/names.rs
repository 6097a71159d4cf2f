//! The names that we write: kohya's, which every program reads.

use super::Part;

/// The layer of a weight in kohya's spelling: `lora_unet_down_blocks_0_…_to_q`.
///
/// The tensors of the layer are this name with `.lora_down.weight`, `.lora_up.weight` and `.alpha`.
/// `weight_name` is the weight's name in diffusers or transformers, with or without `.weight`; names of a
/// text encoder as transformers 5 has them get the `text_model.` that readers look for. The first text
/// encoder is `lora_te`, as in files for models with one; for Stable Diffusion XL use [`kohya_xl_name`].
pub fn kohya_name(part: Part, weight_name: &str) -> String {
    with_tag(if part == Part::TextEncoder { "te" } else { xl_tag(part) }, part, weight_name)
}

/// The same for a model with two text encoders: the first is `lora_te1`.
///
/// Blocks of the U-Net keep diffusers' names, which readers of XL files know beside Stability's.
pub fn kohya_xl_name(part: Part, weight_name: &str) -> String {
    with_tag(xl_tag(part), part, weight_name)
}

fn xl_tag(part: Part) -> &'static str {
    match part {
        Part::Unet => "unet",
        Part::TextEncoder => "te1",
        Part::TextEncoder2 => "te2",
    }
}

fn with_tag(tag: &str, part: Part, weight_name: &str) -> String {
    let layer = weight_name.strip_suffix(".weight").unwrap_or(weight_name);
    let inside = ["encoder.", "embeddings.", "final_layer_norm"].iter().any(|start| layer.starts_with(start));
    let prefix = if part != Part::Unet && inside { "text_model_" } else { "" };
    format!("lora_{tag}_{prefix}{}", layer.replace('.', "_"))
}
