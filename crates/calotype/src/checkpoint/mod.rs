//! A whole model as its files hold it: configs and weights, before a network is made of them.
//!
//! What is done to weights (another dtype, a LoRA merged, another layout of files) is done here.

mod find;
mod flux_file;
mod folder;
mod gguf_file;
pub mod hub;
mod index;
pub mod lora;
mod networks;
mod notes;
pub mod probe;
#[cfg(feature = "released-model")]
pub mod released;
pub mod single_file;
mod t5;
mod taesd;
mod trained;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::files::gguf::TensorType;
use crate::files::weights::Tensors;
use crate::files::{Storage, StoredTensor};
use crate::model::ComponentKind;
use crate::text_encoder::T5Tokenizer;
use crate::text_encoder::tokenizer::{ClipTokenizer, Padding};

pub use find::find;
pub use folder::component_folder;
pub use lora::merge::{MergedLora, WeightedLora};
pub use networks::{clip, denoiser, text_encoder, vae};
pub use notes::Taken;
pub use t5::{is_t5, t5_encoder};
pub use trained::{
    text_encoder_tensors, write_autoencoder, write_clip, write_denoiser, write_model, write_text_encoder,
};
pub use write::{Layout, Written};

/// In the header of the single files that we write: every component's `config.json` under its folder's name.
const CONFIGS: &str = "calotype.configs";
/// In the same place: `scheduler_config.json`.
const SCHEDULER: &str = "calotype.scheduler";

/// A component's config and weights.
#[derive(Debug, Clone)]
pub struct StoredComponent {
    /// The weight file, for messages.
    pub path: PathBuf,
    /// The file that the config was read from, for messages; `None` if it is derived from the weights or stands in
    /// their file's header.
    pub config_path: Option<PathBuf>,
    /// `config.json`.
    pub config: Value,
    /// Tensors under diffusers' and transformers' names.
    pub weights: Tensors,
    /// Tensors of the file that belong to something else.
    pub left_out: Vec<String>,
}

/// A model.
#[derive(Clone)]
pub struct Checkpoint {
    /// Folder or file.
    pub path: PathBuf,
    /// Its components.
    pub components: BTreeMap<ComponentKind, StoredComponent>,
    /// One for each of CLIP's text encoders.
    pub tokenizers: Vec<ClipTokenizer>,
    /// Flux's second.
    pub t5_tokenizer: Option<T5Tokenizer>,
    /// The text of `scheduler_config.json`, which need not be JSON to the letter: Python writes `-Infinity`.
    pub scheduler: String,
    /// Whether an empty negative prompt has zeros for features (SDXL), not those of the empty text.
    pub force_zeros_for_empty_prompt: bool,
    /// Tensors of its files that belong to something else, such as the other half of a CLIP.
    pub left_out: Vec<String>,
    /// What a single file does not say and is taken for it.
    pub taken: Taken,
}

impl Checkpoint {
    /// Opens a folder in diffusers' layout, or a single file in the original one; of Flux a transformer alone, as file or
    /// folder. Weights are mapped into memory and keep their dtype.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format`, `Error::Config`; `Error::Weights` for tensors that no model of this kind has.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { folder::open(path) } else { single_file::open::open(path) }
    }

    /// The same, or T5's encoder alone, as file or folder, which makes no pictures but can be written in another layout.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_part(path: &Path) -> Result<Self> {
        t5::alone(path)?.map_or_else(|| Self::open(path), Ok)
    }

    /// A component.
    ///
    /// # Errors
    /// `Error::Format` if the model has none.
    pub fn component(&self, component: ComponentKind) -> Result<&StoredComponent> {
        self.components.get(&component).ok_or_else(|| {
            let reason = format!("it has no {}", component.folder());
            Error::format(&self.path, "model", reason)
        })
    }

    /// The network of a checkpoint that has one alone: a transformer, or T5's encoder.
    fn alone(&self) -> Option<(ComponentKind, &StoredComponent)> {
        let (&kind, stored) = self.components.iter().next()?;
        let may_be = kind == ComponentKind::Transformer || is_t5(stored);
        (self.components.len() == 1 && may_be).then_some((kind, stored))
    }

    /// Takes a component out.
    ///
    /// # Errors
    /// As [`Checkpoint::component`].
    pub fn take(&mut self, component: ComponentKind) -> Result<StoredComponent> {
        self.component(component)?;
        Ok(self.components.remove(&component).expect("it was there"))
    }

    /// Takes the tokenizers of a model folder, or one tokenizer's folder for every text encoder: for single files
    /// of models whose vocabulary is not OpenAI's.
    ///
    /// # Errors
    /// As [`ClipTokenizer::load`].
    pub fn use_tokenizers(&mut self, folder: &Path) -> Result<()> {
        for (tokenizer, name) in self.tokenizers.iter_mut().zip(["tokenizer", "tokenizer_2"]) {
            *tokenizer = ClipTokenizer::load(&component_folder(folder, name))?;
        }
        let second = folder.join("tokenizer_2");
        if self.has_t5() && T5Tokenizer::is_in(&second) {
            self.t5_tokenizer = Some(T5Tokenizer::load(&second)?);
        }
        Ok(())
    }

    /// Takes the second text encoder's tokenizer from a model folder, or from its own.
    ///
    /// # Errors
    /// As [`ClipTokenizer::load`] and [`T5Tokenizer::load`]; `Error::Argument` for a model with one text encoder.
    pub fn use_second_tokenizer(&mut self, folder: &Path) -> Result<()> {
        let folder = component_folder(folder, "tokenizer_2");
        if self.has_t5() {
            self.t5_tokenizer = Some(T5Tokenizer::load(&folder)?);
        } else if let Some(second) = self.tokenizers.get_mut(1) {
            *second = ClipTokenizer::load(&folder)?;
        } else {
            let expected = "a model with two text encoders";
            return Err(Error::argument("tokenizer-2", expected, format!("`{}`", self.path.display())));
        }
        Ok(())
    }

    /// Whether the second text encoder is a T5.
    pub fn has_t5(&self) -> bool {
        self.components.get(&ComponentKind::TextEncoder2).is_some_and(is_t5)
    }

    /// Puts a component in the place of the model's, or where it has none: of a model folder or single file, or alone in a
    /// folder or file.
    ///
    /// # Errors
    /// As [`StoredComponent::find`]; `Error::Argument` for a denoiser of another kind, or a second text encoder that the
    /// model has no use for.
    pub fn replace(&mut self, kind: ComponentKind, path: &Path) -> Result<()> {
        let there = self.components.contains_key(&kind);
        let is_flux = self.components.contains_key(&ComponentKind::Transformer);
        let fits = match kind {
            ComponentKind::Unet | ComponentKind::Transformer => there,
            ComponentKind::TextEncoder2 => there || is_flux,
            ComponentKind::Vae | ComponentKind::TextEncoder => true,
        };
        if !fits {
            let name = kind.folder().replace('_', "-");
            let expected = format!("a model with a {}", kind.folder());
            return Err(Error::argument(name, expected, format!("`{}`", self.path.display())));
        }
        let replaced = self.components.get(&kind).map(|stored| &stored.config);
        let mut stored = StoredComponent::find_in_place_of(path, kind, replaced)?;
        self.left_out.append(&mut stored.left_out);
        self.components.insert(kind, stored);
        if kind == ComponentKind::TextEncoder && self.tokenizers.is_empty() {
            self.tokenizers = vec![ClipTokenizer::openai(Padding::End)?];
        }
        let tokenizer = component_folder(path, "tokenizer_2");
        if kind == ComponentKind::TextEncoder2
            && self.t5_tokenizer.is_none()
            && T5Tokenizer::is_in(&tokenizer)
        {
            self.t5_tokenizer = Some(T5Tokenizer::load(&tokenizer)?);
        }
        Ok(())
    }

    /// Refuses tokenizers with tokens that their text encoders do not have.
    ///
    /// # Errors
    /// `Error::Shape`.
    pub fn check_tokenizers(&self) -> Result<()> {
        let kinds = [ComponentKind::TextEncoder, ComponentKind::TextEncoder2];
        let of_clip = kinds.into_iter().zip(self.tokenizers.iter().map(ClipTokenizer::vocab_size));
        let of_t5 = self.t5_tokenizer.iter().map(|t5| (ComponentKind::TextEncoder2, t5.vocab_size()));
        for (component, tokens) in of_clip.chain(of_t5) {
            let config = self.components.get(&component).map(|stored| &stored.config["vocab_size"]);
            let vocabulary = config.and_then(Value::as_u64).map(|size| size as usize);
            if let Some(size) = vocabulary.filter(|&size| tokens > size) {
                let option =
                    if component == ComponentKind::TextEncoder { "tokenizer" } else { "tokenizer-2" };
                let expected = format!(
                    "at most {size}, the {}'s vocab_size (--{option} takes another)",
                    component.folder()
                );
                return Err(Error::shape("tokens of the tokenizer", expected, tokens));
            }
        }
        Ok(())
    }

    /// Stores all weights in another dtype, rounded to the nearest.
    pub fn store_as(&mut self, storage: Storage) {
        self.store_as_where(storage, |_| true);
    }

    /// The same but for packed weights, which are smaller as they are.
    pub fn store_unpacked_as(&mut self, storage: Storage) {
        self.store_as_where(storage, |tensor| !tensor.is_packed());
    }

    fn store_as_where(&mut self, storage: Storage, holds: impl Fn(&StoredTensor) -> bool) {
        let stored = |tensor: StoredTensor| if holds(&tensor) { tensor.stored_as(storage) } else { tensor };
        for component in self.components.values_mut() {
            let weights = std::mem::take(&mut component.weights);
            component.weights = weights.into_iter().map(|(name, tensor)| (name, stored(tensor))).collect();
        }
    }

    /// Which denoiser it has; the usual one if none, for messages.
    pub fn denoiser_kind(&self) -> ComponentKind {
        let there = |kind: &ComponentKind| self.components.contains_key(kind);
        ComponentKind::DENOISERS.into_iter().find(there).unwrap_or(ComponentKind::DENOISERS[0])
    }

    /// How most of the denoiser's numbers are stored; those of another network if it has none.
    pub fn storage(&self) -> Storage {
        let denoiser = self.components.get(&self.denoiser_kind()).or_else(|| self.components.values().next());
        let weights = denoiser.map(|component| component.weights.values());
        let largest = weights.and_then(|weights| weights.max_by_key(|tensor| tensor.byte_count()));
        largest.map_or(Storage::F32, |tensor| tensor.storage())
    }

    /// What the text of `scheduler_config.json` says.
    ///
    /// # Errors
    /// As [`SchedulerConfig::check`]; `Error::Format` if it cannot be read.
    pub fn scheduler_config(&self) -> Result<SchedulerConfig> {
        let inside = self.path.join("scheduler/scheduler_config.json");
        let path = if self.path.is_dir() { inside } else { self.path.clone() };
        let config = SchedulerConfig::parse(&self.scheduler)
            .map_err(|e| Error::format(&path, "scheduler configuration", e))?;
        config.check(&path)?;
        Ok(config)
    }

    /// Names and shapes of all weights of a component.
    pub fn shapes(&self, component: ComponentKind) -> BTreeMap<String, Vec<usize>> {
        let weights = self.components.get(&component).map(|component| component.weights.iter());
        weights.into_iter().flatten().map(|(name, t)| (name.clone(), t.shape().to_vec())).collect()
    }

    /// Writes a folder that diffusers' `from_pretrained` opens; `model_index.json` last. A transformer alone is written as
    /// the folder of that component.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write_folder(&self, folder: &Path) -> Result<()> {
        write::folder(self, folder, None)
    }

    /// Writes what `path` stands for ([`Layout::of`]), with weights as they are stored.
    ///
    /// # Errors
    /// As [`Checkpoint::write_as`].
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_as(path, None).map(drop)
    }

    /// The same with all weights in another dtype, rounded to the nearest; blocks in GGUF alone. Weights are read,
    /// converted and written a few rows at a time.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Argument` for a dtype or a network that the layout does not have; `Error::Weights` for a tensor
    /// that it has no place for; `Error::Data` for numbers that the dtype does not hold.
    pub fn write_as(&self, path: &Path, dtype: Option<TensorType>) -> Result<Written> {
        write::write(self, path, dtype)
    }
}
