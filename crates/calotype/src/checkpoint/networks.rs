//! Networks of the components that a checkpoint holds.
//!
//! Each is made with a [`Compute`]: where it runs and in which arithmetic. A device alone stands for products in f32.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::folder::{self, component_folder};
use super::{Checkpoint, Part, StoredPart, taesd};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, AutoencoderTiny, AutoencoderTinyConfig, Vae};
use crate::checkpoint::single_file::modern_vae_name;
use crate::denoiser::{Unet, UnetConfig};
use crate::error::{Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::{self, Tensors};
use crate::nn::{Component, Compute, Init, parameters};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig};

impl StoredPart {
    /// Reads the folder of one component.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format`.
    pub fn open(folder: &Path, part: Part) -> Result<Self> {
        folder::open_part(folder, part)
    }

    /// A component of whatever `path` is: a model folder, the folder of the component alone, TAESD's two files in a
    /// folder, or a single file of a whole model.
    ///
    /// # Errors
    /// As [`StoredPart::open`] and [`Checkpoint::open`].
    pub fn find(path: &Path, part: Part) -> Result<Self> {
        if path.is_file() {
            return Checkpoint::open(path)?.take(part);
        }
        let folder = component_folder(path, part.folder());
        let published = match part {
            Part::Vae if !folder.join("config.json").is_file() => taesd::open(&folder)?,
            _ => None,
        };
        published.map_or_else(|| Self::open(&folder, part), Ok)
    }

    fn typed_config<C: DeserializeOwned>(&self) -> Result<C> {
        let path = self.path.with_file_name("config.json");
        serde_json::from_value(self.config.clone()).map_err(|e| Error::format(path, "config.json", e))
    }

    /// The config's class; configs without one are taken for the usual.
    fn class(&self) -> Option<&str> {
        self.config.get("_class_name").and_then(Value::as_str)
    }

    fn unknown_class<T>(&self, expected: &str) -> Result<T> {
        Err(Error::Config {
            path: self.path.with_file_name("config.json"),
            key: "_class_name".into(),
            expected: expected.into(),
            got: format!("`{}`", self.class().unwrap_or_default()),
        })
    }
}

/// The denoiser.
///
/// # Errors
/// `Error::Config`, `Error::Weights`.
pub fn unet(part: StoredPart, compute: impl Into<Compute>) -> Result<Component<Unet, UnetConfig>> {
    if part.class().is_some_and(|class| class != "UNet2DConditionModel") {
        return part.unknown_class("UNet2DConditionModel");
    }
    let config: UnetConfig = part.typed_config()?;
    let network = Unet::new(&config, &mut Init::zeros(compute))?;
    let network = parameters::load(network, "denoiser", &part.path, part.weights)?;
    Ok(Component { network, config })
}

/// The autoencoder, of either kind.
///
/// # Errors
/// As [`unet`].
pub fn vae(part: StoredPart, compute: impl Into<Compute>) -> Result<Vae> {
    let init = &mut Init::zeros(compute);
    match part.class().unwrap_or("AutoencoderKL") {
        "AutoencoderKL" => {
            let config: AutoencoderConfig = part.typed_config()?;
            let network = AutoencoderKl::new(&config, init)?;
            let weights = part.weights.into_iter().map(modern).collect();
            let network = parameters::load(network, "autoencoder", &part.path, weights)?;
            Ok(Vae::Kl { network, config })
        }
        "AutoencoderTiny" => {
            let config: AutoencoderTinyConfig = part.typed_config()?;
            let network = AutoencoderTiny::new(&config, init)?;
            let network = parameters::load(network, "autoencoder", &part.path, part.weights)?;
            Ok(Vae::Tiny { network, config })
        }
        _ => part.unknown_class("AutoencoderKL or AutoencoderTiny"),
    }
}

/// A tensor of an autoencoder under today's name, and its attention's 1×1 convolutions as linear maps.
fn modern((name, tensor): (String, StoredTensor)) -> (String, StoredTensor) {
    let name = modern_vae_name(&name).unwrap_or(name);
    let tensor = match *tensor.shape() {
        [output, input, 1, 1] if name.contains(".attentions.") => {
            tensor.reshaped(vec![output, input]).expect("as many places")
        }
        _ => tensor,
    };
    (name, tensor)
}

/// The text tower, with the projection that its weights have; tensors may be named with and without
/// `text_model.`.
///
/// # Errors
/// As [`unet`].
pub fn text_encoder(
    part: StoredPart,
    compute: impl Into<Compute>,
) -> Result<Component<ClipText, ClipTextConfig>> {
    let config: ClipTextConfig = part.typed_config()?;
    let unprefixed = |name: String| name.strip_prefix("text_model.").map_or(name.clone(), str::to_owned);
    let weights: Tensors =
        part.weights.into_iter().map(|(name, tensor)| (unprefixed(name), tensor)).collect();
    let init = &mut Init::zeros(compute);
    let mut network = ClipText::new(&config, init)?;
    if weights.contains_key("text_projection.weight") {
        network = network.with_projection(&config, init);
    }
    let network = parameters::load(network, "text encoder", &part.path, weights)?;
    Ok(Component { network, config })
}

/// Both towers, from the folder `clip/`.
///
/// # Errors
/// `Error::Io`; as [`unet`].
pub fn clip(folder: &Path, compute: impl Into<Compute>) -> Result<Component<Clip, ClipConfig>> {
    let (path, weights) = weights::open_folder(folder, "model")?;
    let config: ClipConfig = crate::files::atomic::read_json(&folder.join("config.json"))?;
    let network = Clip::new(&config, &mut Init::zeros(compute))?;
    let network = parameters::load(network, "CLIP", &path, weights)?;
    Ok(Component { network, config })
}
