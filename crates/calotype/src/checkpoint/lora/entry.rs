//! What a layer of a file changes: its weight, its bias, or both.

use super::change::Change;
use super::delta::{Numbers, Result};
use super::dora::Magnitude;
use super::fit::{Fit, Misfit};
use super::key::{Layer, Role};
use super::target::Target;
use super::{LoraFile, Shapes, flux};
use crate::files::LowRank;
use crate::files::weights::Tensors;
use crate::model::ComponentKind;

/// A change of a weight or a bias, or of those that a file has in one: W += weight · (alpha / rank) · scalar · ΔW.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The network that has the weight.
    pub component: ComponentKind,
    /// W.
    pub target: Target,
    /// ΔW.
    pub change: Change,
    /// The scale's numerator; absent, it is the rank.
    pub alpha: Option<Alpha>,
    /// The scale's denominator; absent, the scale is 1.
    pub rank: Option<usize>,
    /// A tensor of one number that ΔW is multiplied by.
    pub scalar: Option<String>,
    /// DoRA: the lengths that W + ΔW is brought to.
    pub magnitude: Option<Magnitude>,
}

/// The numerator of the scale `alpha / rank`.
#[derive(Debug, Clone, PartialEq)]
pub enum Alpha {
    /// The scalar tensor of this name in the file.
    Tensor(String),
    /// A number from the file's metadata, or from the configuration beside the file.
    Value(f64),
}

impl Entry {
    /// What it adds to its weights, their rows one below the other as the model has them; `None` where it is no plain product
    /// of two matrices. Text: what is wrong with a tensor.
    ///
    /// - `weight`: the LoRA's strength.
    pub(super) fn product(&self, tensors: &Tensors, weight: f64) -> Result<Option<LowRank>> {
        let Change::LowRank { down, up, mid: None } = &self.change else { return Ok(None) };
        if self.magnitude.is_some() || self.target.columns.is_some() {
            return Ok(None);
        }
        let numbers = Numbers(tensors);
        let scale = self.scale(numbers, weight)?;
        let (down_numbers, rank) = (numbers.of(down)?, numbers.size(down, 0)?);
        let mut up: Vec<f32> = numbers.of(up)?.into_iter().map(|up| scale * up).collect();
        if self.target.swapped {
            let half = up.len() / 2;
            up.rotate_left(half);
        }
        Ok(LowRank::new(up.into(), down_numbers.into(), rank))
    }

    /// What ΔW is multiplied by.
    ///
    /// - `weight`: the strength of the file.
    pub(super) fn scale(&self, numbers: Numbers, weight: f64) -> Result<f32> {
        let mut scale = weight;
        if let Some(rank) = self.rank {
            let alpha = match &self.alpha {
                None => rank as f64,
                Some(Alpha::Value(alpha)) => *alpha,
                Some(Alpha::Tensor(name)) => numbers.one(name)?,
            };
            scale = scale * alpha / rank as f64;
        }
        if let Some(scalar) = &self.scalar {
            scale *= numbers.one(scalar)?;
        }
        Ok(scale as f32)
    }
}

/// The changes of a layer, whose tensors fit its weight and its bias.
///
/// - `alpha`: what the configuration says for a rank.
/// - `target`: the component and its weight, which is among `shapes`.
pub(super) fn of_layer(
    file: LoraFile,
    layer: &Layer,
    change: Option<Change>,
    alpha: impl Fn(usize) -> Option<f64>,
    (component, target): (ComponentKind, &Target),
    shapes: &Shapes,
) -> std::result::Result<Vec<Entry>, Misfit> {
    let inputs = change.as_ref().and_then(|change| change.inputs(file.tensors));
    let target = &flux::of_latent(target, inputs, shapes);
    let (name, shape) = (target.to_string(), target.shape(shapes).unwrap_or_default());
    let fit = Fit { tensors: file.tensors, target: &name, shape: &shape };
    let of_layer = |role| layer.get(role).cloned();
    for tensor in [Role::Alpha, Role::Scalar].into_iter().filter_map(|role| layer.get(role)) {
        fit.one_number(tensor)?;
    }
    let rank = change.as_ref().map_or(Ok(None), |change| fit.rank(change))?;
    let rank_of_lora = rank.filter(|_| matches!(change, Some(Change::LowRank { .. })));
    let of_config = || rank_of_lora.and_then(alpha).map(Alpha::Value);
    let alpha = of_layer(Role::Alpha).map(Alpha::Tensor).or_else(of_config);
    let entry = |target: &Target, change: Change, rank: Option<usize>| {
        let alpha = alpha.clone().filter(|_| rank.is_some());
        Entry { component, target: target.clone(), change, alpha, rank, scalar: None, magnitude: None }
    };
    let mut entries = vec![];
    // What LoRA's last matrix adds to a bias is scaled as its product is.
    for (role, rank) in [(Role::BiasDifference, None), (Role::UpBias, rank_of_lora)] {
        let Some(tensor) = of_layer(role) else { continue };
        let bias = target.bias();
        let shape = bias.shape(shapes).ok_or_else(|| fit.misfit(&tensor, "a layer with a bias"))?;
        let change = Change::Difference(tensor);
        Fit { target: &bias.to_string(), shape: &shape, ..fit }.rank(&change)?;
        entries.push(entry(&bias, change, rank));
    }
    if let Some(change) = change {
        let (scalar, magnitude) = (of_layer(Role::Scalar), magnitude(layer, fit)?);
        entries.push(Entry { scalar, magnitude, ..entry(target, change, rank) });
    }
    Ok(entries)
}

/// DoRA's lengths. PEFT's are those of rows; LyCORIS' have a shape that says.
fn magnitude(layer: &Layer, fit: Fit) -> std::result::Result<Option<Magnitude>, Misfit> {
    if let Some(tensor) = layer.get(Role::RowMagnitude) {
        fit.require_rows(tensor)?;
        return Ok(Some(Magnitude { tensor: tensor.clone(), of_rows: true }));
    }
    let of_shape =
        |tensor: &String| Ok(Magnitude { of_rows: fit.is_of_rows(tensor)?, tensor: tensor.clone() });
    layer.get(Role::Magnitude).map(of_shape).transpose()
}
