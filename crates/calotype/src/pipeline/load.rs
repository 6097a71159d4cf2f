//! The model of a request, with everything that the request does to it.

use std::path::PathBuf;

use burn::tensor::Device;

use super::lora_dir;
use super::request::Request;
use crate::checkpoint::lora::bundle::BundledWord;
use crate::checkpoint::{Checkpoint, WeightedLora, find};
use crate::error::{Error, Result};
use crate::files::Storage;
use crate::machine::Machine;
use crate::model::{ComponentKind, Model};
use crate::nn::{Compute, Precision};
use crate::text_encoder::extra_network::without_loras;

impl Request {
    /// Reads the model, with its tokenizer, LoRAs (those that the prompt's tags name last), learned words and
    /// precision.
    ///
    /// # Errors
    /// `Error::Argument` where no model is named, or a tag names no LoRA of the folder; as [`find`],
    /// [`Checkpoint::open`], [`Checkpoint::add_loras`] and [`Checkpoint::into_model`].
    pub fn load(&self, machine: Machine) -> Result<Model> {
        let Some(model) = &self.model else {
            return Err(Error::argument("model", "a folder, file or name on the hub", "none"));
        };
        let tagged = match &self.lora_dir {
            Some(folder) if !self.plain_prompt => lora_dir::named_in(&self.prompt, folder)?,
            _ => vec![],
        };
        let progress = machine.progress;
        let mut checkpoint = Checkpoint::open(&find(model, progress)?)?;
        let notes = checkpoint.notes(self.sampler.map(|sampler| sampler.class()));
        for (kind, path) in self.replaced_components() {
            checkpoint.replace(kind, &find(path, progress)?)?;
        }
        if let Some(folder) = &self.tokenizer {
            checkpoint.use_tokenizers(folder)?;
        }
        if let Some(folder) = &self.tokenizer_2 {
            checkpoint.use_second_tokenizer(folder)?;
        }
        let mut words: Vec<(&PathBuf, BundledWord)> = Vec::new();
        let loras = [self.lora.as_slice(), &tagged].concat();
        let merged = checkpoint.add_loras(&loras)?;
        for (WeightedLora { file, weight }, merged) in loras.iter().zip(merged) {
            progress.say(&format!("{}: {} layers, weight {weight}", file.display(), merged.layers));
            merged.warning().iter().for_each(|warning| progress.say(warning));
            // A file may be merged twice, named beside the prompt and in it.
            let known = |(known, _): &(&PathBuf, _)| known.canonicalize().ok() == file.canonicalize().ok();
            if !words.iter().any(known) {
                words.extend(merged.words.into_iter().map(|word| (file, word)));
            }
        }
        if self.dtype == Precision::Bf16 {
            checkpoint.store_unpacked_as(Storage::Bf16);
        }
        let home = if self.offload { &Device::flex() } else { machine.device };
        // Without such instructions the kernels widen the numbers as they read them.
        let mut model = checkpoint.into_model(Compute::new(home, self.dtype.products()))?;
        model.device = machine.device.clone();
        // Not beside the reason why a model is refused.
        notes.iter().for_each(|note| progress.say(note));
        for (file, BundledWord { word, tensors }) in &words {
            model.text.learn_word(file, word, tensors)?;
            progress.say(&format!("{}: `{word}`", file.display()));
        }
        for file in &self.embedding {
            let word = model.text.learn(file)?;
            progress.say(&format!("{}: `{word}`", file.display()));
        }
        Ok(model)
    }

    /// Components that are taken from elsewhere than the model.
    fn replaced_components(&self) -> impl Iterator<Item = (ComponentKind, &PathBuf)> {
        let named = [
            (ComponentKind::Transformer, &self.transformer),
            (ComponentKind::Vae, &self.vae),
            (ComponentKind::TextEncoder, &self.text_encoder),
            (ComponentKind::TextEncoder2, &self.text_encoder_2),
        ];
        named.into_iter().filter_map(|(kind, path)| Some((kind, path.as_ref()?)))
    }

    /// What of the prompt is text, weights, changes and sums.
    pub(super) fn prompt_without_loras(&self) -> String {
        if self.lora_dir.is_none() || self.plain_prompt {
            return self.prompt.clone();
        }
        without_loras(&self.prompt)
    }
}
