//! What a single file does not say.

use crate::model::ComponentKind;
use serde_json::Value;

use super::architecture::Recognised;

/// Keys that change what a network computes.
const OF_UNET: [&str; 14] = [
    "act_fn",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "flip_sin_to_cos",
    "freq_shift",
    "in_channels",
    "layers_per_block",
    "norm_eps",
    "norm_num_groups",
    "out_channels",
    "transformer_layers_per_block",
    "use_linear_projection",
];
const OF_VAE: [&str; 9] = [
    "act_fn",
    "block_out_channels",
    "latent_channels",
    "layers_per_block",
    "mid_block_add_attention",
    "norm_num_groups",
    "scaling_factor",
    "shift_factor",
    "use_quant_conv",
];
const OF_TEXT: [&str; 6] = [
    "hidden_act",
    "hidden_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
];

/// What readers of a single file would get wrong about a component: one text for each key of `config`, the
/// component's own `config.json`, that differs from the one which the file's shapes give. Call it with
/// [`super::recognise`] of the shapes to be written; a file is a faithful copy if nothing is lost.
///
/// Keys that `config` leaves out, or has as null, are not compared.
pub fn what_is_lost(recognised: &Recognised, component: ComponentKind, config: &Value) -> Vec<String> {
    let (derived, keys) = match component {
        ComponentKind::Unet => (Some(&recognised.configs.unet), OF_UNET.as_slice()),
        ComponentKind::Transformer => (None, [].as_slice()),
        ComponentKind::Vae => (Some(&recognised.configs.vae), OF_VAE.as_slice()),
        ComponentKind::TextEncoder => (Some(&recognised.configs.text_encoder), OF_TEXT.as_slice()),
        ComponentKind::TextEncoder2 => (recognised.configs.text_encoder_2.as_ref(), OF_TEXT.as_slice()),
    };
    let Some(derived) = derived else { return vec![format!("{}: expected none", component.folder())] };
    let levels = recognised.layout.unet_levels();
    let differs = |key: &&&str| {
        let own = &config[**key];
        !own.is_null() && !alike(own, &derived[**key], levels)
    };
    let text = |key: &&str| {
        let (folder, own, got) = (component.folder(), &config[*key], &derived[*key]);
        format!("{folder}: `{key}` is {own}, and readers of a single file take {got}")
    };
    keys.iter().filter(differs).map(text).collect()
}

/// Equal, where one number stands for a list of as many as there are levels, and 1 for 1.0.
fn alike(own: &Value, derived: &Value, levels: usize) -> bool {
    let list = |value: &Value, other: &Value| match (value, other) {
        (Value::Number(_), Value::Array(_)) => Value::Array(vec![value.clone(); levels]),
        _ => value.clone(),
    };
    match (list(own, derived), list(derived, own)) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}
