//! A model folder: `config.json` beside weights for each component, and `model_index.json`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::json;

use super::{DIFFUSERS_VERSION, atomic, safetensors_io};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::denoiser::{Unet, UnetConfig};
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::nn::Init;
use crate::nn::parameters::{self, NamedTensor};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig};

const DIFFUSERS_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const TRANSFORMERS_WEIGHTS: &str = "model.safetensors";

/// A component and the config that shapes it.
#[derive(Debug, Clone)]
pub struct Component<M, C> {
    /// The network.
    pub network: M,
    /// Its `config.json`.
    pub config: C,
}

/// `root/name` if that is a folder, else `root` itself: a pipeline's folder and a component's are
/// both taken.
pub fn component_folder(root: &Path, name: &str) -> PathBuf {
    let inside = root.join(name);
    if inside.is_dir() { inside } else { root.to_owned() }
}

/// Writes `vae/`.
///
/// # Errors
/// `Error::Io`.
pub fn save_autoencoder(folder: &Path, network: &AutoencoderKl, config: &AutoencoderConfig) -> Result<()> {
    safetensors_io::write(&folder.join(DIFFUSERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `vae/`.
///
/// # Errors
/// `Error::Io`, `Error::Format`, `Error::Config`, `Error::Weights`.
pub fn load_autoencoder(
    folder: &Path,
    device: &Device,
) -> Result<Component<AutoencoderKl, AutoencoderConfig>> {
    let config: AutoencoderConfig = atomic::read_json(&folder.join("config.json"))?;
    let path = folder.join(DIFFUSERS_WEIGHTS);
    let network = AutoencoderKl::new(&config, &mut Init::zeros(device))?;
    let network = parameters::load(network, "autoencoder", &path, safetensors_io::read(&path)?)?;
    Ok(Component { network, config })
}

/// Writes `unet/`.
///
/// # Errors
/// `Error::Io`.
pub fn save_unet(folder: &Path, network: &Unet, config: &UnetConfig) -> Result<()> {
    safetensors_io::write(&folder.join(DIFFUSERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `unet/`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_unet(folder: &Path, device: &Device) -> Result<Component<Unet, UnetConfig>> {
    let config: UnetConfig = atomic::read_json(&folder.join("config.json"))?;
    let path = folder.join(DIFFUSERS_WEIGHTS);
    let network = Unet::new(&config, &mut Init::zeros(device))?;
    let network = parameters::load(network, "denoiser", &path, safetensors_io::read(&path)?)?;
    Ok(Component { network, config })
}

/// Writes `clip/`: both towers.
///
/// # Errors
/// `Error::Io`.
pub fn save_clip(folder: &Path, network: &Clip, config: &ClipConfig) -> Result<()> {
    safetensors_io::write(&folder.join(TRANSFORMERS_WEIGHTS), &parameters::named_parameters(network))?;
    atomic::write_json(&folder.join("config.json"), config)
}

/// Reads `clip/`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_clip(folder: &Path, device: &Device) -> Result<Component<Clip, ClipConfig>> {
    let config: ClipConfig = atomic::read_json(&folder.join("config.json"))?;
    let path = folder.join(TRANSFORMERS_WEIGHTS);
    let network = Clip::new(&config, &mut Init::zeros(device))?;
    let network = parameters::load(network, "CLIP", &path, safetensors_io::read(&path)?)?;
    Ok(Component { network, config })
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
    safetensors_io::write(&folder.join(TRANSFORMERS_WEIGHTS), &tensors)?;
    atomic::write_json(&folder.join("config.json"), &config)
}

/// Reads `text_encoder/`; tensors may be named with and without `text_model.`.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn load_text_encoder(folder: &Path, device: &Device) -> Result<Component<ClipText, ClipTextConfig>> {
    let config: ClipTextConfig = atomic::read_json(&folder.join("config.json"))?;
    let path = folder.join(TRANSFORMERS_WEIGHTS);
    let tensors = safetensors_io::read(&path)?
        .into_values()
        .map(|tensor| {
            let name = tensor.name.strip_prefix("text_model.").unwrap_or(&tensor.name).to_owned();
            (name.clone(), NamedTensor { name, ..tensor })
        })
        .collect();
    let network = ClipText::new(&config, &mut Init::zeros(device))?;
    let network = parameters::load(network, "text encoder", &path, tensors)?;
    Ok(Component { network, config })
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
