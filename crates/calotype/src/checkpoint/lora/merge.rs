//! A LoRA merged into the weights: W += weight · (α/r) · up · down. Hu et al. 2021, arXiv:2106.09685, Eq. 3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::lora::{self, Alpha, Entry, FORMAT, LoraFile};
use crate::error::{Error, Result};
use crate::files::weights::{self, Tensors};
use crate::files::{Storage, StoredTensor, atomic};
use crate::model::ComponentKind;

/// What a LoRA changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedLora {
    /// Layers of the model that it changed.
    pub layers: usize,
    /// Tensors of the file that belong to no layer of it.
    pub unmatched: Vec<String>,
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
    /// Merges LoRAs in full precision, and rounds the weights once to the dtype that they had. Returns how many layers
    /// were changed, each counted for every LoRA.
    ///
    /// # Errors
    /// As [`Checkpoint::merge_lora`].
    pub fn merge_loras(&mut self, loras: &[WeightedLora]) -> Result<usize> {
        if loras.is_empty() {
            return Ok(0);
        }
        let before = self.storage();
        self.store_as(Storage::F32);
        let mut layers = 0;
        for WeightedLora { file, weight } in loras {
            layers += self.merge_lora(file, *weight)?.layers;
        }
        self.store_as(before);
        Ok(layers)
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
        let tensors = weights::open(file)?;
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !tensor.is_finite()) {
            return Err(Error::format(file, FORMAT, format!("tensor `{name}` has NaN or infinity")));
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
            add(entry, &tensors, weight, target)
                .map_err(|reason| Error::format(file, FORMAT, format!("`{}`: {reason}", entry.down)))?;
        }
        Ok(MergedLora { layers: assignment.entries.len(), unmatched: assignment.unmatched })
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

fn add(
    entry: &Entry,
    tensors: &Tensors,
    weight: f64,
    target: &mut StoredTensor,
) -> std::result::Result<(), String> {
    let get = |name: &str| tensors.get(name).map(StoredTensor::to_f32).ok_or("no such tensor");
    let (up, down) = (get(&entry.up)?, get(&entry.down)?);
    let rank = entry.rank;
    let alpha = match &entry.alpha {
        None => rank as f64,
        Some(Alpha::Value(alpha)) => *alpha,
        Some(Alpha::Tensor(name)) => f64::from(*get(name)?.first().ok_or("an alpha without a number")?),
    };
    let scale = (weight * alpha / rank as f64) as f32;
    let (storage, shape) = (target.storage(), target.shape().to_vec());
    let mut values = target.to_f32();
    match &entry.mid {
        None => {
            let columns = down.len() / rank;
            values.par_chunks_mut(columns).zip(up.par_chunks(rank)).for_each(|(row, up)| {
                for (up, down) in up.iter().zip(down.chunks(columns)) {
                    row.iter_mut().zip(down).for_each(|(w, d)| *w += scale * up * d);
                }
            });
        }
        // W[o, i, :] += Σ_ab up[o, a]·mid[a, b, :]·down[b, i]: a kernel between two 1×1 convolutions.
        Some(mid) => {
            let mid = get(mid)?;
            let places = mid.len() / (rank * rank);
            let inputs = down.len() / rank;
            values.par_chunks_mut(inputs * places).zip(up.par_chunks(rank)).for_each(|(row, up)| {
                for (a, up) in up.iter().enumerate() {
                    for b in 0..rank {
                        let mid = &mid[(a * rank + b) * places..][..places];
                        for (to, down) in row.chunks_mut(places).zip(&down[b * inputs..]) {
                            to.iter_mut().zip(mid).for_each(|(w, m)| *w += scale * up * m * down);
                        }
                    }
                }
            });
        }
    }
    let merged = StoredTensor::from_f32(shape, values).ok_or("another number of weights")?;
    *target = merged.stored_as(storage);
    Ok(())
}
