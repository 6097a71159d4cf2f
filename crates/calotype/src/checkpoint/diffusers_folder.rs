//! A model folder: `config.json` beside weights for each component, and `model_index.json`.

use std::path::Path;

use serde_json::json;

use super::{self as checkpoint, DIFFUSERS_VERSION, StoredComponent};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, Vae};
use crate::denoiser::{Unet, UnetConfig};
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::files::{NamedTensor, atomic, safetensors};
use crate::model::ComponentKind;
use crate::nn::{Component, Compute, parameters};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig};

const DIFFUSERS_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const TRANSFORMERS_WEIGHTS: &str = "model.safetensors";

/// Writes `vae/`.
///
/// # Errors
/// `Error::Io`.
pub fn save_autoencoder(folder: &Path, network: &AutoencoderKl, config: &AutoencoderConfig) -> Result<()> {
    safetensors::write(&folder.join(DIFFUSERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `vae/`, a full autoencoder.
///
/// # Errors
/// `Error::Io`, `Error::Format`, `Error::Config`, `Error::Weights`.
pub fn load_autoencoder(
    folder: &Path,
    compute: impl Into<Compute>,
) -> Result<Component<AutoencoderKl, AutoencoderConfig>> {
    match checkpoint::vae(StoredComponent::open(folder, ComponentKind::Vae)?, compute)? {
        Vae::Kl { network, config } => Ok(Component { network, config }),
        Vae::Tiny { config, .. } => Err(Error::Config {
            path: folder.join("config.json"),
            key: "_class_name".into(),
            expected: "AutoencoderKL".into(),
            got: format!("`{}`", config.class_name),
        }),
    }
}

/// Writes `unet/`.
///
/// # Errors
/// `Error::Io`.
pub fn save_unet(folder: &Path, network: &Unet, config: &UnetConfig) -> Result<()> {
    safetensors::write(&folder.join(DIFFUSERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `unet/`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_unet(folder: &Path, compute: impl Into<Compute>) -> Result<Component<Unet, UnetConfig>> {
    checkpoint::unet(StoredComponent::open(folder, ComponentKind::Unet)?, compute)
}

/// Writes `clip/`: both towers.
///
/// # Errors
/// `Error::Io`.
pub fn save_clip(folder: &Path, network: &Clip, config: &ClipConfig) -> Result<()> {
    safetensors::write(&folder.join(TRANSFORMERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `clip/`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_clip(folder: &Path, compute: impl Into<Compute>) -> Result<Component<Clip, ClipConfig>> {
    checkpoint::clip(folder, compute)
}

/// Writes `text_encoder/`: the text tower alone, its tensors under `text_model.`.
///
/// # Errors
/// `Error::Io`.
pub fn save_text_encoder(folder: &Path, network: &ClipText, config: &ClipTextConfig) -> Result<()> {
    let tensors: Vec<NamedTensor> = parameters::named_parameters(network)
        .into_iter()
        .map(|tensor| NamedTensor { name: format!("text_model.{}", tensor.name), ..tensor })
        .collect();
    let config = ClipTextConfig { architectures: Some(vec!["CLIPTextModel".into()]), ..config.clone() };
    safetensors::write(&folder.join(TRANSFORMERS_WEIGHTS), &tensors)?;
    atomic::write_json(&folder.join("config.json"), &config)
}

/// Reads `text_encoder/` or `text_encoder_2/`; tensors may be named with and without `text_model.`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_text_encoder(
    folder: &Path,
    compute: impl Into<Compute>,
) -> Result<Component<ClipText, ClipTextConfig>> {
    checkpoint::text_encoder(StoredComponent::open(folder, ComponentKind::TextEncoder)?, compute)
}

/// Writes `scheduler/scheduler_config.json`.
///
/// # Errors
/// `Error::Io`.
pub fn save_scheduler(folder: &Path, config: &SchedulerConfig) -> Result<()> {
    atomic::write(&folder.join("scheduler_config.json"), config.to_json().as_bytes())
}

/// Writes `model_index.json`, which makes the folder a pipeline. The last file to be written: a
/// folder without it is not finished.
///
/// # Errors
/// `Error::Io`.
pub fn save_index(root: &Path, scheduler: &SchedulerConfig) -> Result<()> {
    let scheduler_class =
        serde_json::to_value(scheduler.class_name).map_err(|e| Error::format(root, "JSON", e))?;
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "feature_extractor": [null, null],
        "image_encoder": [null, null],
        "requires_safety_checker": false,
        "safety_checker": [null, null],
        "scheduler": ["diffusers", scheduler_class],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    atomic::write_json(&root.join("model_index.json"), &index)
}
