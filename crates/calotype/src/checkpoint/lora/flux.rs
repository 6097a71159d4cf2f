//! Names of the layers of Flux's transformer in LoRA files, beside diffusers' own.
//!
//! Most are Black Forest Labs', whose layers are several of diffusers' ([`entries`]): kohya's, ComfyUI's and those of
//! Control LoRAs. x-flux and OneTrainer have names of their own for parts of them.

use super::target::Target;
use super::{Shapes, key};
use crate::checkpoint::flux_file::names::{Entry, Parts, entries};

/// (end of Black Forest Labs' name, end of x-flux's after `.processor`): 1 is the picture's, 2 the text's.
const X_FLUX: [(&str, &str); 5] = [
    (".img_attn.qkv", ".qkv_lora1"),
    (".txt_attn.qkv", ".qkv_lora2"),
    (".img_attn.proj", ".proj_lora1"),
    (".txt_attn.proj", ".proj_lora2"),
    (".linear2", ".proj"),
];
/// Of a single block's first layer, the queries, keys and values: x-flux's, and ComfyUI's for the same.
const SINGLE_QKV: (&str, [&str; 2]) = (".linear1", [".qkv", ".linear1_qkv"]);
/// OneTrainer's name of the first layer.
const INPUT: (&str, &str) = ("img_in", "img_in.proj");

/// The layer that reads the tokens of the picture, and the one that writes them.
const FIRST: &str = "x_embedder.weight";
const LAST: &str = "proj_out.weight";

/// Names of layers and norms, without `.weight`, and what each is in a network with these weights.
pub(super) fn names(shapes: &Shapes) -> Vec<(String, Target)> {
    let count = |stem: &str| {
        (0..).take_while(|i| shapes.contains_key(&format!("{stem}.{i}.attn.to_q.weight"))).count()
    };
    let parts = Parts {
        double: count("transformer_blocks"),
        single: count("single_transformer_blocks"),
        guidance: shapes.contains_key("time_text_embed.guidance_embedder.linear_1.weight"),
    };
    let there = |entry: &Entry| entry.names.iter().all(|name| shapes.contains_key(name));
    entries(parts).into_iter().filter(there).flat_map(of_entry).collect()
}

/// What a tensor's layer is called.
fn of_entry(Entry { key, names, swapped }: Entry) -> Vec<(String, Target)> {
    let target = |names: &[String]| Target { names: names.to_vec(), swapped, columns: None };
    let Some(layer) = key.strip_suffix(".weight") else {
        // A norm, with the name of its tensor and without; biases are found by their layers.
        let norm = key.strip_suffix(".scale");
        return norm.map_or(vec![], |norm| [norm, &key].map(|n| (n.to_owned(), target(&names))).to_vec());
    };
    let mut all = vec![(layer.to_owned(), target(&names))];
    if let [_, _, ..] = names[..] {
        // OneTrainer numbers the parts.
        let part = |(i, name): (usize, &String)| (format!("{layer}.{i}"), Target::one(name));
        all.extend(names.iter().enumerate().map(part));
    }
    for (end, other) in X_FLUX {
        all.extend(layer.strip_suffix(end).map(|block| (format!("{block}{other}"), target(&names))));
    }
    if let (Some(block), Some(qkv)) = (layer.strip_suffix(SINGLE_QKV.0), names.get(..3)) {
        all.extend(SINGLE_QKV.1.map(|other| (format!("{block}{other}"), target(qkv))));
    }
    if layer == INPUT.0 {
        all.push((INPUT.1.to_owned(), target(&names)));
    }
    all
}

/// The same layer, if a change of it is made for a network without further inputs: Fill's tokens, and those of Depth and
/// Canny, begin with the latent's numbers, which are all that other networks read.
///
/// - `inputs`: columns of the change.
pub(super) fn of_latent(target: &Target, inputs: Option<usize>, shapes: &Shapes) -> Target {
    let latent = shapes.get(LAST).and_then(|shape| shape.first().copied());
    let reads_more = shapes.get(FIRST).and_then(|shape| shape.get(1).copied()) > latent;
    if is_first(target) && reads_more && inputs.is_some() && inputs == latent {
        return Target { columns: inputs, ..target.clone() };
    }
    target.clone()
}

/// How many numbers a network's tokens have, and its width; `None` for other networks.
pub(super) fn sizes(shapes: &Shapes) -> Option<(usize, usize)> {
    match shapes.get(FIRST)?[..] {
        [width, inputs] => Some((inputs, width)),
        _ => None,
    }
}

/// Whether a target is the layer that reads the tokens.
pub(super) fn is_first(target: &Target) -> bool {
    target.names[..] == [FIRST]
}

/// The layer and the role of a tensor whose name has none of the usual ends.
pub(super) fn split(name: &str) -> Option<(&str, key::Role)> {
    let x_flux = [(".down.weight", key::Role::Down), (".up.weight", key::Role::Up)];
    let of_x_flux = x_flux.into_iter().find_map(|(end, role)| {
        let layer = name.strip_suffix(end)?;
        layer.ends_with(['1', '2']).then_some(())?;
        layer[..layer.len() - 1].ends_with("_lora").then_some((layer, role))
    });
    // Norms are given whole: Black Forest Labs' by `scale`, diffusers' by `weight`.
    let of_norm = || {
        let layer = name.strip_suffix(".scale").filter(|layer| layer.ends_with("y_norm"));
        let own = || {
            let norms = [".norm_q", ".norm_k", ".norm_added_q", ".norm_added_k"];
            name.strip_suffix(".weight").filter(|layer| norms.iter().any(|norm| layer.ends_with(norm)))
        };
        layer.or_else(own).map(|layer| (layer, key::Role::Replacement))
    };
    of_x_flux.or_else(of_norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_flux_has() {
        use key::Role::{Down, Replacement, Up};
        for (name, layer, role) in [
            ("double_blocks.3.processor.qkv_lora1.down.weight", "double_blocks.3.processor.qkv_lora1", Down),
            ("double_blocks.3.processor.proj_lora2.up.weight", "double_blocks.3.processor.proj_lora2", Up),
            ("single_blocks.0.norm.key_norm.scale", "single_blocks.0.norm.key_norm", Replacement),
            (
                "transformer_blocks.0.attn.norm_added_q.weight",
                "transformer_blocks.0.attn.norm_added_q",
                Replacement,
            ),
        ] {
            assert_eq!(split(name), Some((layer, role)));
        }
        for other in
            ["double_blocks.0.qkv.down.weight", "a.norm.weight", "a.scale", "_lora3.up.weight", "1.up.weight"]
        {
            assert_eq!(split(other), None);
        }
    }
}
