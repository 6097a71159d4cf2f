//! Names of the autoencoder's tensors.
//!
//! The original decoder numbers its levels from the finest (`up.0` comes last), diffusers' from the coarsest.
//! The original attention is made of 1×1 convolutions, diffusers' of linear layers.

use super::change::Change;
use super::layout::KeyLayout;
use super::names::{numbered, renamed, renamed_back};

/// (original, diffusers), outside the blocks of encoder and decoder.
const ENDS: [(&str, &str); 3] =
    [("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")];

/// Outside encoder and decoder.
const QUANT: [(&str, &str); 2] = [("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv")];

/// (original, diffusers), in a residual block.
const RESNET: [(&str, &str); 5] = [
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
];

/// (original, diffusers), in the attention.
const ATTENTION: [(&str, &str); 5] =
    [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];

/// (diffusers before 0.17, diffusers), in the attention.
const OLD_ATTENTION: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// diffusers' name of the original `key`, which stands without `first_stage_model.`.
pub(super) fn to_diffusers(key: &str, layout: &KeyLayout) -> Option<(String, Change)> {
    if let Some(name) = renamed(key, &QUANT) {
        return Some((name, Change::None));
    }
    let (side, rest) = key.split_once('.')?;
    let way = direction(side)?;
    if let Some(name) = renamed(rest, &ENDS) {
        return Some((format!("{side}.{name}"), Change::None));
    }
    if let Some(inner) = rest.strip_prefix("mid.attn_1.") {
        let name = renamed(inner, &ATTENTION)?;
        let change = attention_change(&name);
        return Some((format!("{side}.mid_block.attentions.0.{name}"), change));
    }
    if let Some(inner) = rest.strip_prefix("mid.block_") {
        let (i, inner) = numbered(inner, "").filter(|(i, _)| (1..=2).contains(i))?;
        let name = renamed(inner, &RESNET)?;
        return Some((format!("{side}.mid_block.resnets.{}.{name}", i - 1), Change::None));
    }
    let (level, inner) = numbered(rest, &format!("{way}."))?;
    let block = mirrored(level, side, layout)?;
    let name = match numbered(inner, "block.") {
        Some((i, inner)) => format!("resnets.{i}.{}", renamed(inner, &RESNET)?),
        None => renamed(inner, &[(&*format!("{way}sample.conv"), &*format!("{way}samplers.0.conv"))])?,
    };
    Some((format!("{side}.{way}_blocks.{block}.{name}"), Change::None))
}

/// The original key, without `first_stage_model.`, of diffusers' `name`, new or old.
pub(super) fn to_original(name: &str, layout: &KeyLayout) -> Option<(String, Change)> {
    let modern = modern_vae_name(name);
    let name = modern.as_deref().unwrap_or(name);
    if let Some(key) = renamed_back(name, &QUANT) {
        return Some((key, Change::None));
    }
    let (side, rest) = name.split_once('.')?;
    let way = direction(side)?;
    if let Some(key) = renamed_back(rest, &ENDS) {
        return Some((format!("{side}.{key}"), Change::None));
    }
    if let Some(inner) = rest.strip_prefix("mid_block.attentions.0.") {
        let key = renamed_back(inner, &ATTENTION)?;
        return Some((format!("{side}.mid.attn_1.{key}"), attention_change(inner)));
    }
    if let Some((i, inner)) = numbered(rest, "mid_block.resnets.") {
        let key = renamed_back(inner, &RESNET).filter(|_| i < 2)?;
        return Some((format!("{side}.mid.block_{}.{key}", i + 1), Change::None));
    }
    let (block, inner) = numbered(rest, &format!("{way}_blocks."))?;
    let level = mirrored(block, side, layout)?;
    let key = match numbered(inner, "resnets.") {
        Some((i, inner)) => format!("block.{i}.{}", renamed_back(inner, &RESNET)?),
        None => renamed(inner, &[(&*format!("{way}samplers.0.conv"), &*format!("{way}sample.conv"))])?,
    };
    Some((format!("{side}.{way}.{level}.{key}"), Change::None))
}

/// Today's name of a tensor in the autoencoder's attention that diffusers before 0.17 called `query`, `key`,
/// `value` or `proj_attn`; `None` for every other name.
pub fn modern_vae_name(name: &str) -> Option<String> {
    let place = name.find(".mid_block.attentions.0.")? + ".mid_block.attentions.0.".len();
    let (before, inner) = name.split_at(place);
    Some(format!("{before}{}", renamed(inner, &OLD_ATTENTION)?))
}

/// Weights of the four projections are 1×1 convolutions in the original.
fn attention_change(name: &str) -> Change {
    if name.starts_with("to_") && name.ends_with(".weight") { Change::Squeeze } else { Change::None }
}

/// What the levels of encoder and decoder are called.
fn direction(side: &str) -> Option<&'static str> {
    match side {
        "encoder" => Some("down"),
        "decoder" => Some("up"),
        _ => None,
    }
}

/// The level's number on the other side.
fn mirrored(level: usize, side: &str, layout: &KeyLayout) -> Option<usize> {
    let last = layout.vae_levels.checked_sub(1)?;
    match side {
        "encoder" => (level <= last).then_some(level),
        _ => last.checked_sub(level),
    }
}

#[cfg(test)]
mod tests {
    use super::modern_vae_name;

    #[test]
    fn old_attention_names() {
        let modern = |name: &str| modern_vae_name(&format!("decoder.mid_block.attentions.0.{name}"));
        let expect = |name: &str| Some(format!("decoder.mid_block.attentions.0.{name}"));
        assert_eq!(modern("query.weight"), expect("to_q.weight"));
        assert_eq!(modern("key.bias"), expect("to_k.bias"));
        assert_eq!(modern("value.weight"), expect("to_v.weight"));
        assert_eq!(modern("proj_attn.bias"), expect("to_out.0.bias"));
        assert_eq!(modern("group_norm.weight"), None);
        assert_eq!(modern("to_q.weight"), None);
        assert_eq!(modern_vae_name("decoder.conv_in.weight"), None);
    }
}
