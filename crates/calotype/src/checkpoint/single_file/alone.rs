//! An autoencoder or a CLIP text encoder in a file of its own, such as `ae.safetensors` and `clip_l.safetensors`, or taken
//! out of a checkpoint that names it so.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::names::Shapes;
use super::{Architecture, KeyLayout, text_config, vae_config, vae_keys};
use crate::checkpoint::StoredComponent;
use crate::error::{Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::Tensors;
use crate::model::ComponentKind;

const VAE: &str = "autoencoder in one file";
const CLIP: &str = "CLIP text encoder in one file";

/// What an autoencoder's keys may begin with.
const VAE_PREFIXES: [&str; 3] = ["", "first_stage_model.", "vae."];
/// What training leaves beside an autoencoder.
const BESIDE_VAE: [&str; 2] = ["loss.", "model_ema."];
/// What a whole CLIP has beside the text tower that Flux reads, and what is no number of a network.
const BESIDE_TEXT: [&str; 5] =
    ["logit_scale", "text_projection.weight", "vision_model.", "visual_projection.", "text_projection."];
/// Keys of a text encoder's config that its shapes tell.
const OF_SHAPE: [&str; 5] =
    ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"];
const POSITION_IDS: &str = "embeddings.position_ids";

/// Flux's autoencoder: 16 channels, (scaling factor, shift factor).
const OF_FLUX: (f64, f64) = (0.3611, 0.1159);
/// Stable Diffusion's.
const SCALING_FACTOR: f64 = 0.18215;

/// The autoencoder of `tensors`, under the original code's names or diffusers'; `None` for something else.
///
/// - `replaced`: the config of the autoencoder in whose place it is put; what shapes do not tell is as there, if both
///   have latents of as many channels.
///
/// # Errors
/// `Error::Format` for an autoencoder that diffusers' `AutoencoderKL` cannot be; `Error::Weights` for a tensor that is no
/// part of one.
pub fn vae(path: &Path, tensors: Tensors, replaced: Option<&Value>) -> Result<Option<StoredComponent>> {
    let is_there = |prefix: &&str| tensors.contains_key(&format!("{prefix}decoder.conv_in.weight"));
    let Some(prefix) = VAE_PREFIXES.into_iter().find(is_there) else { return Ok(None) };
    if tensors.keys().any(|key| !key.starts_with(prefix)) {
        // A whole model, which is opened as one.
        return Ok(None);
    }
    let has = |start: &str| tensors.keys().any(|key| key.starts_with(&format!("{prefix}{start}")));
    let ours = has("encoder.down_blocks.");
    let stem = if ours { "encoder.down_blocks." } else { "encoder.down." };
    let levels = (0..).take_while(|level| has(&format!("{stem}{level}."))).count();
    let layout = KeyLayout::of_parts(levels, 0);
    let mut originals: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let (mut weights, mut left_out) = (Tensors::new(), Vec::new());
    for (key, tensor) in tensors {
        let inner = key.strip_prefix(prefix).unwrap_or(&key);
        let both = if ours {
            vae_keys::to_original(inner, &layout).map(|(original, _)| (original, inner.to_owned()))
        } else {
            vae_keys::to_diffusers(inner, &layout).map(|(name, _)| (inner.to_owned(), name))
        };
        if let Some((original, name)) = both {
            originals.insert(original, tensor.shape().to_vec());
            weights.insert(name, tensor);
        } else if BESIDE_VAE.iter().any(|start| inner.starts_with(start)) {
            left_out.push(key);
        } else {
            let got = format!("{:?}", tensor.shape());
            return Err(Error::weights("autoencoder", path, &key, "a tensor of an AutoencoderKL", got));
        }
    }
    let channels = originals.get("decoder.conv_in.weight").and_then(|shape| shape.get(1).copied());
    let of_flux = channels == Some(16);
    let (factor, side) = if of_flux { (OF_FLUX.0, 1024) } else { (SCALING_FACTOR, 512) };
    let mut config = vae_config::config(Shapes::new(&originals, ""), side, factor)
        .map_err(|reason| Error::format(path, VAE, reason))?;
    if of_flux {
        config["shift_factor"] = json!(OF_FLUX.1);
    }
    if let Some(known) = replaced.filter(|known| known["latent_channels"] == config["latent_channels"]) {
        for key in ["scaling_factor", "shift_factor", "latents_mean", "latents_std", "norm_num_groups"] {
            if let Some(value) = known.get(key).filter(|value| !value.is_null()) {
                config[key] = value.clone();
            }
        }
    }
    Ok(Some(stored(path, config, weights, left_out)))
}

/// CLIP's text encoder of `tensors`, under transformers' names with and without `text_model.`; `None` for something else.
///
/// - `replaced`: as for [`vae`]; without one of the same shape it is read as OpenAI's, which is Stable Diffusion 1's and Flux's.
///
/// # Errors
/// As [`vae`].
pub fn clip_text(
    path: &Path,
    mut tensors: Tensors,
    replaced: Option<&Value>,
) -> Result<Option<StoredComponent>> {
    let table = "embeddings.token_embedding.weight";
    if !tensors.contains_key(table) && !tensors.contains_key(&format!("text_model.{table}")) {
        return Ok(None);
    }
    let is_beside = |key: &str| BESIDE_TEXT.iter().any(|start| key.starts_with(start));
    let left_out: Vec<String> = tensors.extract_if(|key, _| is_beside(key)).map(|(key, _)| key).collect();
    tensors.retain(|key, _| !key.ends_with(POSITION_IDS));
    let shapes: BTreeMap<String, Vec<usize>> =
        tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape().to_vec())).collect();
    let shapes = Shapes::new(&shapes, "");
    let mut config = text_config::config(shapes, ComponentKind::TextEncoder, Architecture::StableDiffusion1)
        .map_err(|reason| Error::format(path, CLIP, reason))?;
    let same = |known: &&Value| OF_SHAPE.iter().all(|key| known[key] == config[key]);
    if let Some(known) = replaced.filter(same) {
        config = known.clone();
    }
    Ok(Some(stored(path, config, tensors, left_out)))
}

fn stored(path: &Path, config: Value, weights: Tensors, mut left_out: Vec<String>) -> StoredComponent {
    left_out.sort();
    StoredComponent { path: path.to_owned(), config_path: None, config, weights, left_out }
}

/// Those of `tensors` whose names begin with `prefix`, under the rest of their names.
pub fn taken_from(tensors: &mut Tensors, prefix: &str) -> Tensors {
    let of_part = |key: &String, _: &mut StoredTensor| key.starts_with(prefix);
    tensors.extract_if(of_part).map(|(key, tensor)| (key[prefix.len()..].to_owned(), tensor)).collect()
}
