//! Networks that were trained here, written into a model folder, component by component.
//!
//! `config.json` beside the weights of each, and `model_index.json` last: a folder without it is not
//! finished.

use std::path::Path;

use serde::Serialize;

use super::index::ModelIndex;
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, Vae};
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, atomic, safetensors};
use crate::model::{ComponentKind, Model};
use crate::nn::{Component, parameters};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig};

/// Writes `vae/`.
///
/// # Errors
/// `Error::Io`.
pub fn write_autoencoder(folder: &Path, network: &AutoencoderKl, config: &AutoencoderConfig) -> Result<()> {
    write(folder, ComponentKind::Vae, &parameters::named_parameters(network), config)
}

/// Writes the folder of a denoiser, `unet/`.
///
/// # Errors
/// `Error::Io`.
pub fn write_denoiser(folder: &Path, network: &Denoiser, config: &DenoiserConfig) -> Result<()> {
    write(folder, ComponentKind::of_denoiser(config), &parameters::named_parameters(network), config)
}

/// Writes `clip/`: both towers.
///
/// # Errors
/// `Error::Io`.
pub fn write_clip(folder: &Path, network: &Clip, config: &ClipConfig) -> Result<()> {
    write(folder, ComponentKind::TextEncoder, &parameters::named_parameters(network), config)
}

/// Writes `text_encoder/`: the text tower alone, its tensors under `text_model.`.
///
/// # Errors
/// `Error::Io`.
pub fn write_text_encoder(folder: &Path, network: &ClipText, config: &ClipTextConfig) -> Result<()> {
    let tensors = text_encoder_tensors(network);
    let config = ClipTextConfig { architectures: Some(vec!["CLIPTextModel".into()]), ..config.clone() };
    write(folder, ComponentKind::TextEncoder, &tensors, &config)
}

/// The tensors of a text tower as transformers' `CLIPTextModel` names them.
pub fn text_encoder_tensors(network: &ClipText) -> Vec<NamedTensor> {
    let named = |tensor: NamedTensor| NamedTensor { name: format!("text_model.{}", tensor.name), ..tensor };
    parameters::named_parameters(network).into_iter().map(named).collect()
}

/// Writes a whole model with `denoiser` in place of its own; an autoencoder, text encoder and tokenizer that stand
/// in the folder already stay.
///
/// # Errors
/// `Error::Io`; `Error::Config` for an autoencoder that is not trained here.
pub fn write_model(root: &Path, model: &Model, denoiser: &Denoiser) -> Result<()> {
    let Vae::Kl { network, config } = &model.vae else {
        return Err(Error::config(root, "_class_name", "AutoencoderKL", "`AutoencoderTiny`"));
    };
    if !root.join("vae").exists() {
        write_autoencoder(&root.join("vae"), network, config)?;
        let tower = model.text.first();
        let Component { network, config } = &tower.encoder;
        write_text_encoder(&root.join("text_encoder"), network, config)?;
        tower.tokenizer.save(&root.join("tokenizer"))?;
    }
    let config = &model.denoiser.config;
    write_denoiser(&root.join(ComponentKind::of_denoiser(config).folder()), denoiser, config)?;
    let scheduler = root.join("scheduler/scheduler_config.json");
    atomic::write(&scheduler, model.scheduler.to_json().as_bytes())?;
    let class =
        serde_json::to_value(model.scheduler.class_name).map_err(|e| Error::format(root, "JSON", e))?;
    let index = ModelIndex {
        second: None,
        beside: model.input_beside(),
        denoiser: (ComponentKind::of_denoiser(config), config.class_name()),
        vae: "AutoencoderKL",
        scheduler: class.as_str().unwrap_or_default(),
        zeros_for_no_negative: false,
    };
    atomic::write_json(&root.join("model_index.json"), &index.to_json())
}

/// Weights under the file name that components of this kind have, and the config.
fn write(folder: &Path, kind: ComponentKind, tensors: &[NamedTensor], config: &impl Serialize) -> Result<()> {
    let weights = folder.join(kind.weights_stem()).with_extension("safetensors");
    safetensors::write(&weights, tensors)?;
    atomic::write_json(&folder.join("config.json"), config)
}
