//! Names of the U-Net's tensors.
//!
//! The original code numbers the blocks along the way down and up (`input_blocks.7`), each a list of a
//! residual block or a downsampling layer (0), perhaps a transformer (1), and on the way up perhaps an
//! upsampling layer (last). diffusers counts by level and kind. With L layers per block, a level takes L + 1
//! numbers: L residual blocks and the downsampling, or L + 1 residual blocks of which the last upsamples too.

use super::layout::KeyLayout;
use super::names::{is_parameter, numbered, renamed, renamed_back};

/// (original, diffusers), outside the blocks.
const TOP: [(&str, &str); 7] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];

/// (original, diffusers), in a residual block.
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// (original, diffusers), in the middle.
const MIDDLE: [(&str, &str); 3] = [("0.", "resnets.0."), ("1.", "attentions.0."), ("2.", "resnets.1.")];

/// diffusers' name of the original `key`, which stands without `model.diffusion_model.`.
pub(super) fn to_diffusers(key: &str, layout: &KeyLayout) -> Option<String> {
    if let Some(name) = renamed(key, &TOP) {
        let of_sdxl = key.starts_with("label_emb.");
        return (!of_sdxl || layout.has_addition_embedding()).then_some(name);
    }
    let stride = layout.layers_per_block + 1;
    let blocks = layout.unet_levels() * stride;
    if let Some((i, rest)) = numbered(key, "input_blocks.") {
        let (level, place) = (i.checked_sub(1)? / stride, (i - 1) % stride);
        if i >= blocks {
            return None;
        }
        let inner = if place == layout.layers_per_block {
            renamed(rest, &[("0.op", "downsamplers.0.conv")])?
        } else {
            block_to_diffusers(rest, place, layout.attends[level])?
        };
        return Some(format!("down_blocks.{level}.{inner}"));
    }
    if let Some((i, rest)) = numbered(key, "output_blocks.") {
        let (block, place) = (i / stride, i % stride);
        if i >= blocks {
            return None;
        }
        let attends = layout.attends[layout.unet_levels() - 1 - block];
        let inner = match layout.upsampler(block, place) {
            Some(original) => renamed(rest, &[(original, "upsamplers.0.conv")]),
            None => None,
        };
        let inner = inner.or_else(|| block_to_diffusers(rest, place, attends))?;
        return Some(format!("up_blocks.{block}.{inner}"));
    }
    let rest = key.strip_prefix("middle_block.")?;
    let (old, new) = MIDDLE.into_iter().find(|(old, _)| rest.starts_with(old))?;
    let rest = &rest[old.len()..];
    let inner = if new.starts_with("attentions") {
        is_transformer(rest).then(|| rest.to_owned())?
    } else {
        renamed(rest, &RESNET)?
    };
    Some(format!("mid_block.{new}{inner}"))
}

/// The original key, without `model.diffusion_model.`, of diffusers' `name`.
pub(super) fn to_original(name: &str, layout: &KeyLayout) -> Option<String> {
    if let Some(key) = renamed_back(name, &TOP) {
        let of_sdxl = key.starts_with("label_emb.");
        return (!of_sdxl || layout.has_addition_embedding()).then_some(key);
    }
    let (levels, layers) = (layout.unet_levels(), layout.layers_per_block);
    if let Some((level, rest)) = numbered(name, "down_blocks.") {
        let attends = *layout.attends.get(level)?;
        let first = 1 + level * (layers + 1);
        if let Some(inner) = renamed(rest, &[("downsamplers.0.conv", "0.op")]) {
            return (level + 1 < levels).then(|| format!("input_blocks.{}.{inner}", first + layers));
        }
        let (place, inner) = block_to_original(rest, attends)?;
        return (place < layers).then(|| format!("input_blocks.{}.{inner}", first + place));
    }
    if let Some((block, rest)) = numbered(name, "up_blocks.") {
        let level = levels.checked_sub(1 + block)?;
        let first = block * (layers + 1);
        if rest.starts_with("upsamplers.") {
            let original = layout.upsampler(block, layers)?;
            let inner = renamed(rest, &[("upsamplers.0.conv", original)])?;
            return Some(format!("output_blocks.{}.{inner}", first + layers));
        }
        let (place, inner) = block_to_original(rest, layout.attends[level])?;
        return (place <= layers).then(|| format!("output_blocks.{}.{inner}", first + place));
    }
    let rest = name.strip_prefix("mid_block.")?;
    let (old, new) = MIDDLE.into_iter().find(|(_, new)| rest.starts_with(new))?;
    let rest = &rest[new.len()..];
    let inner = if new.starts_with("attentions") {
        is_transformer(rest).then(|| rest.to_owned())?
    } else {
        renamed_back(rest, &RESNET)?
    };
    Some(format!("middle_block.{old}{inner}"))
}

/// `0.in_layers.2.weight` at `place` of a level to `resnets.{place}.conv1.weight`; a transformer is at 1.
fn block_to_diffusers(rest: &str, place: usize, attends: bool) -> Option<String> {
    match numbered(rest, "")? {
        (0, inner) => Some(format!("resnets.{place}.{}", renamed(inner, &RESNET)?)),
        (1, inner) if attends && is_transformer(inner) => Some(format!("attentions.{place}.{inner}")),
        _ => None,
    }
}

/// The other way, with the place in the level.
fn block_to_original(rest: &str, attends: bool) -> Option<(usize, String)> {
    if let Some((place, inner)) = numbered(rest, "resnets.") {
        return Some((place, format!("0.{}", renamed_back(inner, &RESNET)?)));
    }
    let (place, inner) = numbered(rest, "attentions.")?;
    (attends && is_transformer(inner)).then(|| (place, format!("1.{inner}")))
}

/// Whether `name` is a parameter of a `Transformer2DModel`; both sides name these alike.
fn is_transformer(name: &str) -> bool {
    let Some((layer, parameter)) = name.rsplit_once('.') else { return false };
    let inside = numbered(layer, "transformer_blocks.").map(|(_, rest)| rest);
    let known = match inside {
        None => ["norm", "proj_in", "proj_out"].contains(&layer),
        Some(rest) => match rest.strip_prefix("attn1.").or(rest.strip_prefix("attn2.")) {
            Some("to_q" | "to_k" | "to_v") => return parameter == "weight",
            Some(rest) => rest == "to_out.0",
            None => ["norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"].contains(&rest),
        },
    };
    known && is_parameter(parameter)
}
