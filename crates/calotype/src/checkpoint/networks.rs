//! Networks of the components that a checkpoint holds.
//!
//! Each is made with a [`Compute`]: where it runs and in which arithmetic. A device alone stands for products in f32.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use calotype_kernels::has_kernels;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::folder::{self, component_folder};
use super::{Checkpoint, StoredComponent, t5, taesd};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, AutoencoderTiny, AutoencoderTinyConfig, Vae};
use crate::checkpoint::single_file::{alone, modern_vae_name};
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::error::{Cause, Error, Result};
use crate::files::StoredTensor;
use crate::files::weights;
use crate::machine::device_memory::require_room;
use crate::model::{ComponentKind, Model};
use crate::nn::compute::held_bytes;
use crate::nn::{Component, Compute, Init, parameters};
use crate::text_encoder::stack::{ClipTower, TextStack};
use crate::text_encoder::{Clip, ClipConfig, ClipText, ClipTextConfig, T5Tower};

/// Tokens that FLUX.1-dev, and what was made of it, was trained with.
const T5_TOKENS_OF_DEV: usize = 512;
/// Those of schnell, whose code allows no more.
const T5_TOKENS_OF_SCHNELL: usize = 256;

impl StoredComponent {
    /// Reads the folder of one component.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format`.
    pub fn open(folder: &Path, component: ComponentKind) -> Result<Self> {
        folder::open_component(folder, component)
    }

    /// A component of whatever `path` is: a model folder, the folder of the component alone, TAESD's two files in a
    /// folder, a single file of a whole model, or one of a component alone.
    ///
    /// # Errors
    /// As [`StoredComponent::open`] and [`Checkpoint::open`].
    pub fn find(path: &Path, component: ComponentKind) -> Result<Self> {
        Self::find_in_place_of(path, component, None)
    }

    /// [`StoredComponent::find`], where what the shapes of a bare file do not tell is as in the config of the component in
    /// whose place it is put.
    ///
    /// # Errors
    /// As there.
    pub fn find_in_place_of(path: &Path, component: ComponentKind, replaced: Option<&Value>) -> Result<Self> {
        if path.is_file() {
            let bare = match component {
                ComponentKind::TextEncoder2 => t5::open_file(path)?,
                ComponentKind::TextEncoder => alone::clip_text(path, weights::open(path)?, replaced)?,
                ComponentKind::Vae => alone::vae(path, weights::open(path)?, replaced)?,
                ComponentKind::Unet | ComponentKind::Transformer => None,
            };
            return bare.map_or_else(|| Checkpoint::open(path)?.take(component), Ok);
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
    /// other; `Error::Argument` for a GPU that has no room for their weights.
    pub fn into_model(mut self, compute: impl Into<Compute>) -> Result<Model> {
        let compute = &compute.into();
        self.require_whole()?;
        self.require_room(&compute.device)?;
        let scheduler = self.scheduler_config()?;
        self.check_tokenizers()?;
        let t5 = if self.has_t5() { Some(self.take_t5(compute)?) } else { None };
        let kinds = [ComponentKind::TextEncoder, ComponentKind::TextEncoder2];
        let kinds = kinds.into_iter().filter(|kind| self.components.contains_key(kind)).collect::<Vec<_>>();
        let mut clip = Vec::new();
        for (kind, tokenizer) in kinds.into_iter().zip(std::mem::take(&mut self.tokenizers)) {
            clip.push(ClipTower {
                tokenizer,
                encoder: text_encoder(self.take(kind)?, compute)?,
                learned: vec![],
            });
        }
        let text = TextStack { clip, t5, zeros_for_no_negative: self.force_zeros_for_empty_prompt };
        let vae = vae(self.take(ComponentKind::Vae)?, compute)?;
        let denoiser = denoiser(self.take(self.denoiser_kind())?, compute)?;
        Model::new(vae, denoiser, text, scheduler, &compute.device)
    }
}

impl Checkpoint {
    /// Refuses weights that a GPU cannot hold; the processor has them in mapped files.
    fn require_room(&self, device: &Device) -> Result<()> {
        if has_kernels(device) {
            return Ok(());
        }
        let weights = self.components.values().flat_map(|component| component.weights.values());
        let bytes: usize = weights.map(|tensor| held_bytes(tensor, device)).sum();
        let instead =
            "`--device cpu`; pictures can be made with `--offload`, which leaves them in the host's memory";
        require_room(device, bytes as u64, "the model's weights", instead)
    }

    /// Names all components at once that pictures need and the model lacks.
    fn require_whole(&self) -> Result<()> {
        let config = |kind: ComponentKind| self.components.get(&kind).map(|stored| &stored.config);
        let transformer = config(ComponentKind::Transformer);
        let width = config(ComponentKind::TextEncoder).map(|config| &config["hidden_size"]);
        // A small one may be told by its CLIP alone.
        let needs_t5 = transformer.is_some_and(|config| Some(&config["joint_attention_dim"]) != width);
        let needed = [
            (self.denoiser_kind(), true),
            (ComponentKind::Vae, true),
            (ComponentKind::TextEncoder, true),
            (ComponentKind::TextEncoder2, needs_t5),
        ];
        let missing = needed.iter().filter(|(kind, needed)| *needed && config(*kind).is_none());
        let missing: Vec<&str> = missing.map(|(kind, _)| kind.folder()).collect();
        let how = match transformer {
            _ if missing.is_empty() => return Ok(()),
            Some(_) => {
                "; --vae, --text-encoder, --text-encoder-2 and --tokenizer-2 name files of the rest, or --transformer puts it \
                 into a whole model"
            }
            None => "",
        };
        Err(Error::format(&self.path, "model", format!("it has no {}{how}", missing.join(", "))))
    }

    /// T5, which reads as many tokens as the transformer was trained with.
    fn take_t5(&mut self, compute: &Compute) -> Result<T5Tower> {
        let Some(tokenizer) = self.t5_tokenizer.take() else {
            let expected =
                "a folder with T5's `spiece.model` or `tokenizer.json`, which a weight file does not have";
            return Err(Error::argument("tokenizer-2", expected, "none"));
        };
        let encoder = t5::t5_encoder(self.take(ComponentKind::TextEncoder2)?, compute)?;
        let is_dev = self.component(ComponentKind::Transformer)?.config["guidance_embeds"] == true;
        Ok(T5Tower::new(tokenizer, encoder, if is_dev { T5_TOKENS_OF_DEV } else { T5_TOKENS_OF_SCHNELL }))
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
