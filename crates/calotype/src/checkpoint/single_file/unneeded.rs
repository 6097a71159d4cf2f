//! What lies in a single file beside the model: what training left, and parts of other things.

use super::architecture::Architecture;
use super::layout::KeyLayout;
use super::names::numbered;
use crate::model::ComponentKind;
use crate::nn::parameters::is_counter;

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
const OF_TEXT: [&str; 3] = ["attn_mask", "logit_scale", "text_projection.weight"];

/// Whether pipelines do without `key`, which is known and has no target. A key with no target for which this
/// is false is unknown.
pub fn is_unneeded(key: &str, layout: &KeyLayout) -> bool {
    if is_counter(key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || TABLES.contains(&key) {
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

/// What belongs to something else: DreamBooth's words of 2022, pipelines' other networks, a trainer's state.
const OTHERS: [&str; 11] = [
    "embedding_manager.",
    "bundle_emb.",
    "safety_checker.",
    "image_encoder.",
    "feature_extractor.",
    "optimizer",
    "callbacks.",
    "loops.",
    "lr_schedulers.",
    "vision_model.",
    "visual_projection.",
];
/// Where the text towers lie.
const TEXT: [&str; 2] = ["cond_stage_model.", "conditioner."];
/// Parts of a whole CLIP that its text tower does without.
const OF_CLIP: [&str; 6] =
    ["vision_model", "visual", "visual_projection", "text_projection", "logit_scale", "logit_bias"];

/// Whether `key` is known to belong to something else than the model. Such tensors are left out, and their names said.
pub fn is_of_another(key: &str) -> bool {
    let text = TEXT.iter().find_map(|prefix| key.strip_prefix(prefix));
    let of_clip = text.is_some_and(is_of_whole_clip) || OF_CLIP.contains(&key);
    of_clip || OTHERS.iter().any(|prefix| key.starts_with(prefix))
}

/// What a key that [`is_of_another`] belongs to: its beginning.
pub(in crate::checkpoint) fn owner(key: &str) -> &str {
    if let Some(other) = OTHERS.iter().find(|prefix| key.starts_with(**prefix)) {
        return other.trim_end_matches('.');
    }
    let mut end = 0;
    let of_clip = key.split('.').find(|piece| {
        end += piece.len() + 1;
        OF_CLIP.contains(piece)
    });
    of_clip.map_or(key, |_| &key[..end - 1])
}

/// Whether a tensor is of a CLIP's vision tower, or of what compares texts with pictures.
pub(in crate::checkpoint) fn is_of_whole_clip(name: &str) -> bool {
    name.split('.').any(|piece| OF_CLIP.contains(&piece))
}

/// SD 2 takes the text's features after the last layer but one, and never projects them.
fn is_unused_layer(rest: &str, layout: &KeyLayout) -> bool {
    let layer = numbered(rest, "transformer.resblocks.").map(|(layer, _)| layer);
    rest == "text_projection" || layer.is_some_and(|layer| layer >= layout.text_layers)
}
