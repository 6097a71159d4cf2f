//! Networks of the components that a checkpoint holds.
//!
//! Each is made with a [`Compute`]: where it runs and in which arithmetic. A device alone stands for products in f32.

use std::path::Path;

use burn::module::Module;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::folder::{self, component_folder};
use super::{Checkpoint, StoredComponent, t5, taesd};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, AutoencoderTiny, AutoencoderTinyConfig, Vae};
use crate::checkpoint::single_file::modern_vae_name;
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::error::{Cause, Error, Result};
use crate::files::StoredTensor;
use crate::files::weights;
use crate::model::{ComponentKind, Model};
use crate::nn::{Component, Compute, Init, parameters};
use crate::text_encoder::stack::{ClipTower, TextStack, TextTower};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig};

impl StoredComponent {
    /// Reads the folder of one component.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format`.
    pub fn open(folder: &Path, component: ComponentKind) -> Result<Self> {
        folder::open_component(folder, component)
    }

    /// A component of whatever `path` is: a model folder, the folder of the component alone, TAESD's two files in a
    /// folder, a single file of a whole model, or one of T5's encoder alone.
    ///
    /// # Errors
    /// As [`StoredComponent::open`] and [`Checkpoint::open`].
    pub fn find(path: &Path, component: ComponentKind) -> Result<Self> {
        if path.is_file() {
            if component == ComponentKind::TextEncoder2
                && let Some(stored) = t5::open_file(path)?
            {
                return Ok(stored);
            }
            return Checkpoint::open(path)?.take(component);
        }
        let folder = component_folder(path, component.folder());
        let published = match component {
            ComponentKind::Vae if !folder.join("config.json").is_file() => taesd::open(&folder)?,
            _ => None,
        };
        published.map_or_else(|| Self::open(&folder, component), Ok)
    }

    pub(super) fn typed_config<C: DeserializeOwned>(&self) -> Result<C> {
        serde_json::from_value(self.config.clone()).map_err(|e| self.wrong_config(e))
    }

    fn wrong_config(&self, error: serde_json::Error) -> Error {
        Error::format(self.config_file(), "config.json", error)
    }

    /// The file that has the config.
    fn config_file(&self) -> &Path {
        self.config_path.as_ref().unwrap_or(&self.path)
    }

    /// The config's class; configs without one are taken for the usual.
    fn class(&self) -> Option<&str> {
        self.config.get("_class_name").and_then(Value::as_str)
    }

    fn unknown_class<T>(&self, expected: &str) -> Result<T> {
        let got = format!("`{}`", self.class().unwrap_or_default());
        Err(Error::config(self.config_file(), "_class_name", expected, got))
    }

    /// Puts the component's weights into a network that its config describes.
    pub(super) fn load<M: Module>(self, network: M, model: &'static str) -> Result<M> {
        let loaded = parameters::load(network, model, &self.path, self.weights);
        // Where two files say what there is, one of them may be of another model.
        loaded.map_err(|error| match &self.config_path {
            Some(_) => error.because(Cause::ConfigOfAnotherModel),
            None => error,
        })
    }
}

impl Model {
    /// Reads a folder in diffusers' layout, or a single file in the original one; `compute` as for
    /// [`Checkpoint::into_model`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::into_model`].
    pub fn load(path: &Path, compute: impl Into<Compute>) -> Result<Self> {
        Checkpoint::open(path)?.into_model(compute)
    }
}

impl Checkpoint {
    /// The networks. `compute`: where they run and in which arithmetic; a device alone stands for products in f32.
    ///
    /// # Errors
    /// `Error::Format`, `Error::Config`, `Error::Weights`; `Error::Shape` if the components do not fit each
    /// other.
    pub fn into_model(mut self, compute: impl Into<Compute>) -> Result<Model> {
        let compute = &compute.into();
        let scheduler = self.scheduler_config()?;
        self.check_tokenizers()?;
        let kinds = [ComponentKind::TextEncoder, ComponentKind::TextEncoder2];
        let kinds = kinds.into_iter().filter(|kind| self.components.contains_key(kind)).collect::<Vec<_>>();
        let mut towers = Vec::new();
        for (kind, tokenizer) in kinds.into_iter().zip(std::mem::take(&mut self.tokenizers)) {
            let encoder = text_encoder(self.take(kind)?, compute)?;
            towers.push(TextTower::Clip(ClipTower { tokenizer, encoder, learned: vec![] }));
        }
        let text = TextStack { towers, zeros_for_no_negative: self.force_zeros_for_empty_prompt };
        let vae = vae(self.take(ComponentKind::Vae)?, compute)?;
        let denoiser = denoiser(self.take(self.denoiser_kind())?, compute)?;
        Model::new(vae, denoiser, text, scheduler, &compute.device)
    }
}

/// The denoiser, of the class that its config names.
///
/// # Errors
/// `Error::Config`, `Error::Weights`.
pub fn denoiser(
    component: StoredComponent,
    compute: impl Into<Compute>,
) -> Result<Component<Denoiser, DenoiserConfig>> {
    let class = component.class().unwrap_or(DenoiserConfig::CLASSES[0]);
    let Some(config) = DenoiserConfig::of_class(class, component.config.clone()) else {
        return component.unknown_class(&DenoiserConfig::CLASSES.join(" or "));
    };
    let config = config.map_err(|e| component.wrong_config(e))?;
    let network = Denoiser::new(&config, &mut Init::zeros(compute))?;
    let network = component.load(network, "denoiser")?;
    Ok(Component { network, config })
}

/// The autoencoder, of either kind.
///
/// # Errors
/// As [`denoiser`].
pub fn vae(mut component: StoredComponent, compute: impl Into<Compute>) -> Result<Vae> {
    let init = &mut Init::zeros(compute);
    match component.class().unwrap_or("AutoencoderKL") {
        "AutoencoderKL" => {
            let config: AutoencoderConfig = component.typed_config()?;
            let network = AutoencoderKl::new(&config, init)?;
            component.weights = component.weights.into_iter().map(modern).collect();
            let network = component.load(network, "autoencoder")?;
            Ok(Vae::Kl { network, config })
        }
        "AutoencoderTiny" => {
            let config: AutoencoderTinyConfig = component.typed_config()?;
            let network = AutoencoderTiny::new(&config, init)?;
            let network = component.load(network, "autoencoder")?;
            Ok(Vae::Tiny { network, config })
        }
        _ => component.unknown_class("AutoencoderKL or AutoencoderTiny"),
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
/// As [`denoiser`].
pub fn text_encoder(
    mut component: StoredComponent,
    compute: impl Into<Compute>,
) -> Result<Component<ClipText, ClipTextConfig>> {
    let config: ClipTextConfig = component.typed_config()?;
    let unprefixed = |name: String| name.strip_prefix("text_model.").map_or(name.clone(), str::to_owned);
    component.weights =
        component.weights.into_iter().map(|(name, tensor)| (unprefixed(name), tensor)).collect();
    let init = &mut Init::zeros(compute);
    let mut network = ClipText::new(&config, init)?;
    if component.weights.contains_key("text_projection.weight") {
        network = network.with_projection(&config, init);
    }
    let network = component.load(network, "text encoder")?;
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
    let network = parameters::load(network, "CLIP", &path, weights)
        .map_err(|error| error.because(Cause::ConfigOfAnotherModel))?;
    Ok(Component { network, config })
}
