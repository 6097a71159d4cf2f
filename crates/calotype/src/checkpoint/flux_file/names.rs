//! The tensors of Black Forest Labs' files, and diffusers' names of the same.

/// A layer of the original code with weight and bias, and the layers in diffusers that it is made of, one below the
/// other.
type Layer = (&'static str, &'static [&'static str]);

/// Outside of the blocks.
const TOP: [Layer; 7] = [
    ("img_in", &["x_embedder"]),
    ("txt_in", &["context_embedder"]),
    ("time_in.in_layer", &["time_text_embed.timestep_embedder.linear_1"]),
    ("time_in.out_layer", &["time_text_embed.timestep_embedder.linear_2"]),
    ("vector_in.in_layer", &["time_text_embed.text_embedder.linear_1"]),
    ("vector_in.out_layer", &["time_text_embed.text_embedder.linear_2"]),
    ("final_layer.linear", &["proj_out"]),
];

/// Of networks that are told a guidance scale.
const GUIDANCE: [Layer; 2] = [
    ("guidance_in.in_layer", &["time_text_embed.guidance_embedder.linear_1"]),
    ("guidance_in.out_layer", &["time_text_embed.guidance_embedder.linear_2"]),
];

/// Shift, then scale in the original code; scale, then shift in diffusers.
const FINAL_MODULATION: Layer = ("final_layer.adaLN_modulation.1", &["norm_out.linear"]);

/// In `double_blocks.i.` and `transformer_blocks.i.`.
const DOUBLE: [Layer; 10] = [
    ("img_mod.lin", &["norm1.linear"]),
    ("txt_mod.lin", &["norm1_context.linear"]),
    ("img_attn.qkv", &["attn.to_q", "attn.to_k", "attn.to_v"]),
    ("txt_attn.qkv", &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
    ("img_attn.proj", &["attn.to_out.0"]),
    ("txt_attn.proj", &["attn.to_add_out"]),
    ("img_mlp.0", &["ff.net.0.proj"]),
    ("img_mlp.2", &["ff.net.2"]),
    ("txt_mlp.0", &["ff_context.net.0.proj"]),
    ("txt_mlp.2", &["ff_context.net.2"]),
];

/// `scale` there, `weight` here.
const DOUBLE_NORMS: [(&str, &str); 4] = [
    ("img_attn.norm.query_norm", "attn.norm_q"),
    ("img_attn.norm.key_norm", "attn.norm_k"),
    ("txt_attn.norm.query_norm", "attn.norm_added_q"),
    ("txt_attn.norm.key_norm", "attn.norm_added_k"),
];

/// In `single_blocks.i.` and `single_transformer_blocks.i.`.
const SINGLE: [Layer; 3] = [
    ("modulation.lin", &["norm.linear"]),
    ("linear1", &["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]),
    ("linear2", &["proj_out"]),
];

/// As [`DOUBLE_NORMS`].
const SINGLE_NORMS: [(&str, &str); 2] =
    [("norm.query_norm", "attn.norm_q"), ("norm.key_norm", "attn.norm_k")];

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without a prefix.
    pub key: String,
    /// The tensors in diffusers whose rows it has, one below the other.
    pub names: Vec<String>,
    /// Whether the two halves of its rows stand the other way round in diffusers.
    pub swapped: bool,
}

/// What a network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Double blocks.
    pub double: usize,
    /// Single blocks.
    pub single: usize,
    /// Whether it is told a guidance scale.
    pub guidance: bool,
}

/// Every tensor of a file with these parts.
pub fn entries(parts: Parts) -> Vec<Entry> {
    let mut all = Vec::new();
    let guidance = GUIDANCE.iter().filter(|_| parts.guidance);
    for layer in TOP.iter().chain(guidance) {
        all.extend(of_layer("", "", layer));
    }
    all.extend(of_layer("", "", &FINAL_MODULATION).map(|entry| Entry { swapped: true, ..entry }));
    for i in 0..parts.double {
        let (old, new) = (format!("double_blocks.{i}."), format!("transformer_blocks.{i}."));
        all.extend(DOUBLE.iter().flat_map(|layer| of_layer(&old, &new, layer)));
        all.extend(DOUBLE_NORMS.iter().map(|norm| of_norm(&old, &new, norm)));
    }
    for i in 0..parts.single {
        let (old, new) = (format!("single_blocks.{i}."), format!("single_transformer_blocks.{i}."));
        all.extend(SINGLE.iter().flat_map(|layer| of_layer(&old, &new, layer)));
        all.extend(SINGLE_NORMS.iter().map(|norm| of_norm(&old, &new, norm)));
    }
    all
}

/// Weight and bias of a layer.
fn of_layer(old: &str, new: &str, (layer, parts): &Layer) -> [Entry; 2] {
    ["weight", "bias"].map(|parameter| Entry {
        key: format!("{old}{layer}.{parameter}"),
        names: parts.iter().map(|part| format!("{new}{part}.{parameter}")).collect(),
        swapped: false,
    })
}

fn of_norm(old: &str, new: &str, (norm, name): &(&str, &str)) -> Entry {
    Entry { key: format!("{old}{norm}.scale"), names: vec![format!("{new}{name}.weight")], swapped: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::Device;

    use super::*;
    use crate::denoiser::flux::{Flux, FluxConfig};
    use crate::nn::{Init, parameters};

    /// FLUX.1-dev has 780 tensors in its own file and 1160 in diffusers' folder, schnell 776 and 1156; and they are those
    /// of the network, each once.
    #[test]
    fn every_tensor_of_the_network_has_its_place() {
        for (guidance, there, here) in [(true, 780, 1160), (false, 776, 1156)] {
            let entries = entries(Parts { double: 19, single: 38, guidance });
            let names: Vec<&String> = entries.iter().flat_map(|entry| &entry.names).collect();
            assert_eq!((entries.len(), names.len()), (there, here));
            let config = FluxConfig {
                guidance_embeds: guidance,
                attention_head_dim: 4,
                num_attention_heads: 1,
                axes_dims_rope: [0, 2, 2],
                ..FluxConfig::default()
            };
            let network = Flux::new(&config, &mut Init::zeros(&Device::flex())).unwrap();
            let of_network: Vec<String> =
                parameters::shapes(&network).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), of_network.iter().collect());
            let keys: BTreeSet<&String> = entries.iter().map(|entry| &entry.key).collect();
            assert_eq!(keys.len(), there);
        }
    }
}
