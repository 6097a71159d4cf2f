//! What training left in a single file and pictures do not need.

use super::architecture::Architecture;
use super::layout::KeyLayout;
use super::names::numbered;
use crate::model::ComponentKind;

/// Averaged weights under flattened names, losses of the autoencoder's training, the noise schedule as
/// k-diffusion's wrappers keep it.
const PREFIXES: [&str; 5] =
    ["model_ema.", "first_stage_model.loss.", "first_stage_model.model_ema.", "vae.loss.", "denoiser."];

/// Tables of the noise schedule, which follow from two betas, and notes of trainers.
const TABLES: [&str; 18] = [
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
    "lvlb_weights",
    "scale_factor",
    "global_step",
    // Not weights: that they are there says something (see `markers`).
    "v_pred",
    "ztsnr",
];

/// In a text tower: buffers, and what only comparing texts with pictures needs.
const OF_TEXT: [&str; 5] = [
    "text_model.embeddings.position_ids",
    "embeddings.position_ids",
    "attn_mask",
    "logit_scale",
    "text_projection.weight",
];

/// Whether pipelines do without `key`, which is known and has no target. A key with no target for which this
/// is false is unknown.
pub fn is_unneeded(key: &str, layout: &KeyLayout) -> bool {
    if PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || TABLES.contains(&key) {
        return true;
    }
    [ComponentKind::TextEncoder, ComponentKind::TextEncoder2].into_iter().any(|component| {
        let prefixes = component.prefixes(layout.architecture).iter();
        prefixes.filter_map(|prefix| key.strip_prefix(prefix)).any(|rest| {
            OF_TEXT.contains(&rest)
                || (layout.architecture == Architecture::StableDiffusion2 && is_unused_layer(rest, layout))
        })
    })
}

/// SD 2 takes the text's features after the last layer but one, and never projects them.
fn is_unused_layer(rest: &str, layout: &KeyLayout) -> bool {
    let layer = numbered(rest, "transformer.resblocks.").map(|(layer, _)| layer);
    rest == "text_projection" || layer.is_some_and(|layer| layer >= layout.text_layers)
}
