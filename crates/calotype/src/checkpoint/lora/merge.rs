//! A LoRA merged into the weights: W += weight · (α/r) · ΔW. Hu et al. 2021, arXiv:2106.09685, Eq. 3.
//!
//! Weights that change together, such as those of a layer that a file has in one, are in f32 for as long as all files add
//! to them, and no others beside them. Weights of 8 bits and fewer are not packed again, which would lose most of a small
//! change: in a model that computes they stay packed, with the change [beside them](crate::files::LowRank) where it is a
//! plain product of two matrices; else, and in one that is written, they become f16, which has more significant bits than
//! bf16.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::lora::bundle::{self, BundledWord};
use crate::checkpoint::lora::delta::{self, Numbers};
use crate::checkpoint::lora::entry::Entry;
use crate::checkpoint::lora::target::Parts;
use crate::checkpoint::lora::{self, Assignment, FORMAT, LoraFile, ModelShapes};
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

/// A LoRA file that fits a model.
struct Opened<'a> {
    lora: &'a WeightedLora,
    tensors: Tensors,
    assignment: Assignment,
    words: Vec<BundledWord>,
}

/// A change, and the file that it is of.
type Step<'a> = (&'a Opened<'a>, &'a Entry);

impl Checkpoint {
    /// Merges LoRAs of any usual naming into the weights, in full precision, and rounds each weight once to the dtype that
    /// it had; packed ones become f16. Returns what each changed. Nothing is changed if one of them does not fit.
    ///
    /// # Errors
    /// Those of [`weights::open`] and [`lora::assign`]; `Error::Argument` for a strength that is not finite;
    /// `Error::Format` for numbers that are not.
    pub fn merge_loras(&mut self, loras: &[WeightedLora]) -> Result<Vec<MergedLora>> {
        self.apply_loras(loras, false)
    }

    /// The same for a model that computes and is not written: packed weights stay packed where a change is a product of two
    /// matrices, which is kept beside them and added whenever they are unpacked.
    ///
    /// # Errors
    /// As [`Checkpoint::merge_loras`].
    pub fn add_loras(&mut self, loras: &[WeightedLora]) -> Result<Vec<MergedLora>> {
        self.apply_loras(loras, true)
    }

    fn apply_loras(&mut self, loras: &[WeightedLora], beside: bool) -> Result<Vec<MergedLora>> {
        let kinds = ComponentKind::ALL.into_iter().filter(|kind| *kind != ComponentKind::Vae);
        let kinds = kinds.filter(|kind| self.components.contains_key(kind));
        let model: ModelShapes = kinds.map(|kind| (kind, self.shapes(kind))).collect();
        let opened = loras.iter().map(|lora| Opened::new(lora, &model)).collect::<Result<Vec<_>>>()?;
        let of_file = |file| Opened::entries(file).iter().map(move |entry| (file, entry));
        for steps in groups(opened.iter().flat_map(of_file).collect()) {
            if !(beside && self.add_beside(&steps)?) {
                self.merge_group(&steps, &model)?;
            }
        }
        Ok(opened.into_iter().map(Opened::merged).collect())
    }

    /// The same for one.
    ///
    /// - `weight`: its strength; 1 is as trained, 0 nothing, negative the opposite.
    ///
    /// # Errors
    /// As [`Checkpoint::merge_loras`].
    pub fn merge_lora(&mut self, file: &Path, weight: f64) -> Result<MergedLora> {
        let mut merged = self.merge_loras(&[WeightedLora { file: file.to_owned(), weight }])?;
        Ok(merged.remove(0))
    }

    /// Keeps all changes of some packed weights beside them; whether that is possible, nothing is changed otherwise.
    fn add_beside(&mut self, steps: &[Step]) -> Result<bool> {
        let Some((_, Entry { component, .. })) = steps.first() else { return Ok(true) };
        let Some(stored) = self.components.get_mut(component) else { return Ok(true) };
        let mut changed: BTreeMap<&String, StoredTensor> = BTreeMap::new();
        for (file, entry) in steps {
            let fault = |reason: String| Error::format(&file.lora.file, FORMAT, reason);
            let Some(product) = entry.product(&file.tensors, file.lora.weight).map_err(fault)? else {
                return Ok(false);
            };
            let mut first = 0;
            for name in &entry.target.names {
                let Some(weight) = changed.remove(name).or_else(|| stored.weights.get(name).cloned()) else {
                    return Ok(false);
                };
                let end = first + weight.shape().first().copied().unwrap_or(0);
                let sum = product.rows(first..end);
                let Some(weight) = sum.and_then(|sum| weight.with_sum(sum)) else { return Ok(false) };
                changed.insert(name, weight);
                first = end;
            }
        }
        stored.weights.extend(changed.into_iter().map(|(name, weight)| (name.clone(), weight)));
        Ok(true)
    }

    /// All changes of some weights of one component, one after another.
    fn merge_group(&mut self, steps: &[Step], model: &ModelShapes) -> Result<()> {
        let Some((_, Entry { component, .. })) = steps.first() else { return Ok(()) };
        let Some(stored) = self.components.get_mut(component) else { return Ok(()) };
        let names = steps.iter().flat_map(|(_, entry)| &entry.target.names);
        let mut parts: Parts =
            names.filter_map(|name| Some((name.clone(), stored.weights.get(name)?.to_f32()))).collect();
        for (file, entry) in steps {
            let shape = entry.target.shape(&model[component]).unwrap_or_default();
            let mut values = entry.target.gather(&parts, shape.first().copied().unwrap_or(0));
            add(entry, &file.tensors, file.lora.weight, &shape, &mut values).map_err(|reason| {
                let reason = format!("`{}`: {reason}", entry.change.first_tensor());
                Error::format(&file.lora.file, FORMAT, reason)
            })?;
            entry.target.scatter(values, &mut parts);
        }
        for (name, values) in parts {
            let Some(weight) = stored.weights.get_mut(&name) else { continue };
            let storage = storage(weight, &values);
            if let Some(merged) = StoredTensor::from_f32(weight.shape().to_vec(), values) {
                *weight = merged.stored_as(storage);
            }
        }
        Ok(())
    }
}

impl<'a> Opened<'a> {
    fn new(lora: &'a WeightedLora, model: &ModelShapes) -> Result<Self> {
        let WeightedLora { file, weight } = lora;
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
        let mut assignment = Assignment::default();
        if !tensors.is_empty() || words.is_empty() {
            let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()));
            let (shapes, metadata) = (shapes.collect(), metadata(file)?);
            assignment = lora::assign(LoraFile { path: file, tensors: &shapes, metadata: &metadata }, model)?;
        }
        Ok(Self { lora, tensors, assignment, words })
    }

    fn entries(&self) -> &[Entry] {
        &self.assignment.entries
    }

    fn merged(self) -> MergedLora {
        let Assignment { layers, unmatched, .. } = self.assignment;
        MergedLora { layers, unmatched, words: self.words }
    }
}

/// Steps that share weights, each with its like, and in each the order that they have.
fn groups(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut groups: Vec<BTreeSet<usize>> = vec![];
    let mut group_of: BTreeMap<(ComponentKind, &str), usize> = BTreeMap::new();
    for (n, (_, entry)) in steps.iter().enumerate() {
        let weights = entry.target.names.iter().map(|name| (entry.component, name.as_str()));
        let known: BTreeSet<usize> =
            weights.clone().filter_map(|weight| group_of.get(&weight).copied()).collect();
        let mut together = BTreeSet::from([n]);
        for group in known {
            together.append(&mut groups[group]);
        }
        for (_, other) in together.iter().map(|step| &steps[*step]) {
            let names = other.target.names.iter().map(|name| (other.component, name.as_str()));
            group_of.extend(names.map(|weight| (weight, groups.len())));
        }
        groups.push(together);
    }
    let filled = groups.into_iter().filter(|group| !group.is_empty());
    filled.map(|group| group.into_iter().map(|step| steps[step]).collect()).collect()
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

/// Changes numbers that the file has in one.
///
/// - `shape`: theirs, `[out, in, …]` or `[out]`.
pub(super) fn add(
    entry: &Entry,
    tensors: &Tensors,
    weight: f64,
    shape: &[usize],
    values: &mut [f32],
) -> std::result::Result<(), String> {
    let numbers = Numbers(tensors);
    let Some(magnitude) = &entry.magnitude else {
        return delta::add(&entry.change, numbers, entry.scale(numbers, weight)?, shape, values);
    };
    let mut merged = values.to_vec();
    delta::add(&entry.change, numbers, entry.scale(numbers, 1.0)?, shape, &mut merged)?;
    magnitude.apply(numbers, &merged, weight as f32, shape, values)
}

/// How the merged numbers of a weight are stored.
fn storage(weight: &StoredTensor, merged: &[f32]) -> Storage {
    if !weight.is_packed() {
        weight.storage()
    } else if merged.par_iter().all(|number| number.abs() <= f16::MAX.to_f32()) {
        Storage::F16
    } else {
        Storage::F32
    }
}
