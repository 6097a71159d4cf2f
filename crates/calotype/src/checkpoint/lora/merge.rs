//! A LoRA merged into the weights: W += weight · (α/r) · ΔW. Hu et al. 2021, arXiv:2106.09685, Eq. 3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::lora::bundle::{self, BundledWord};
use crate::checkpoint::lora::delta::{self, Numbers};
use crate::checkpoint::lora::entry::Entry;
use crate::checkpoint::lora::{self, FORMAT, LoraFile};
use crate::error::{Cause, Error, Result};
use crate::files::weights::{self, Tensors};
use crate::files::{Storage, StoredTensor, atomic};
use crate::model::ComponentKind;

/// What a LoRA changed.
#[derive(Debug, Clone)]
pub struct MergedLora {
    /// Layers of the model that it changed.
    pub layers: usize,
    /// Tensors of the file that belong to no layer of it.
    pub unmatched: Vec<String>,
    /// Words that were learned with it, which the model's text encoders are still to learn.
    pub words: Vec<BundledWord>,
}

impl MergedLora {
    /// What to warn of: tensors that changed nothing.
    pub fn warning(&self) -> Option<String> {
        match &self.unmatched[..] {
            [] => None,
            [tensor] => Some(format!("warning: one of its tensors has no layer here, `{tensor}`")),
            [first, ..] => {
                let count = self.unmatched.len();
                Some(format!("warning: {count} of its tensors have no layer here, `{first}` first"))
            }
        }
    }
}

/// A LoRA file and its strength; as text `FILE` or `FILE:WEIGHT`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WeightedLora {
    /// The file.
    pub file: PathBuf,
    /// 1 is as trained, 0 nothing, negative the opposite.
    pub weight: f64,
}

impl FromStr for WeightedLora {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let weighted = text.rsplit_once(':').and_then(|(file, weight)| Some((file, weight.parse().ok()?)));
        let (file, weight) = weighted.unwrap_or((text, 1.0));
        if file.is_empty() {
            return Err("expected FILE or FILE:WEIGHT".into());
        }
        Ok(Self { file: file.into(), weight })
    }
}

impl TryFrom<String> for WeightedLora {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<WeightedLora> for String {
    fn from(WeightedLora { file, weight }: WeightedLora) -> Self {
        format!("{}:{weight}", file.display())
    }
}

impl Checkpoint {
    /// Merges LoRAs in full precision, and rounds the weights once to the dtype that they had. Returns what each changed.
    ///
    /// # Errors
    /// As [`Checkpoint::merge_lora`].
    pub fn merge_loras(&mut self, loras: &[WeightedLora]) -> Result<Vec<MergedLora>> {
        if loras.is_empty() {
            return Ok(vec![]);
        }
        let before = self.storage();
        self.store_as(Storage::F32);
        let merged =
            loras.iter().map(|WeightedLora { file, weight }| self.merge_lora(file, *weight)).collect();
        self.store_as(before);
        merged
    }

    /// Merges a LoRA of any usual naming into the weights, which keep their dtype.
    ///
    /// - `weight`: its strength; 1 is as trained, 0 nothing, negative the opposite.
    ///
    /// # Errors
    /// Those of [`weights::open`] and [`lora::assign`]; `Error::Argument` for a weight that is not finite;
    /// `Error::Format` for numbers that are not.
    pub fn merge_lora(&mut self, file: &Path, weight: f64) -> Result<MergedLora> {
        if !weight.is_finite() {
            return Err(Error::argument("lora", "FILE:WEIGHT with a finite weight", weight));
        }
        let mut tensors = weights::open(file)?;
        let not_finite = tensors.iter().filter(|(_, tensor)| !tensor.is_finite()).map(|(name, _)| name).min();
        if let Some(name) = not_finite {
            let error = Error::format(file, FORMAT, format!("tensor `{name}` has NaN or infinity"));
            return Err(error.because(Cause::NotFinite));
        }
        let words = bundle::take(&mut tensors);
        if tensors.is_empty() && !words.is_empty() {
            return Ok(MergedLora { layers: 0, unmatched: vec![], words });
        }
        let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
        let components = [ComponentKind::Unet, ComponentKind::TextEncoder, ComponentKind::TextEncoder2];
        let model = components.into_iter().filter(|&component| self.components.contains_key(&component));
        let model = model.map(|component| (component, self.shapes(component))).collect();
        let of_file = LoraFile { path: file, tensors: &shapes, metadata: &metadata(file)? };
        let assignment = lora::assign(of_file, &model)?;
        for entry in &assignment.entries {
            let weights = self.components.get_mut(&entry.component).map(|component| &mut component.weights);
            let Some(target) = weights.and_then(|weights| weights.get_mut(&entry.target)) else { continue };
            add(entry, &tensors, weight, target).map_err(|reason| {
                let reason = format!("`{}`: {reason}", entry.change.first_tensor());
                Error::format(file, FORMAT, reason)
            })?;
        }
        Ok(MergedLora { layers: assignment.layers, unmatched: assignment.unmatched, words })
    }
}

/// The header of a safetensors file, and PEFT's settings where they lie beside the file.
fn metadata(file: &Path) -> Result<BTreeMap<String, String>> {
    let mut metadata: BTreeMap<String, String> = weights::read_metadata(file)?.into_iter().collect();
    let beside = file.with_file_name(lora::ADAPTER_CONFIG);
    if beside.is_file() {
        let text = String::from_utf8_lossy(&atomic::read(&beside)?).into_owned();
        metadata.insert(lora::ADAPTER_CONFIG.into(), text);
    }
    Ok(metadata)
}

/// Changes a weight, which keeps its dtype.
pub(super) fn add(
    entry: &Entry,
    tensors: &Tensors,
    weight: f64,
    target: &mut StoredTensor,
) -> std::result::Result<(), String> {
    let numbers = Numbers(tensors);
    let (storage, shape) = (target.storage(), target.shape().to_vec());
    let mut values = target.to_f32();
    match &entry.magnitude {
        None => delta::add(&entry.change, numbers, entry.scale(numbers, weight)?, &shape, &mut values)?,
        Some(magnitude) => {
            let mut merged = values.clone();
            delta::add(&entry.change, numbers, entry.scale(numbers, 1.0)?, &shape, &mut merged)?;
            magnitude.apply(numbers, &merged, weight as f32, &shape, &mut values)?;
        }
    }
    let merged = StoredTensor::from_f32(shape, values).ok_or("another number of weights")?;
    *target = merged.stored_as(storage);
    Ok(())
}
