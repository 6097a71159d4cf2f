//! The weights of LPIPS: torchvision's for the network, the paper's for its five linear layers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};

use super::Lpips;
use super::backbone::{Backbone, BackboneNetwork, Convolution};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, weights};
use crate::nn::{Compute, parameters};

/// Name and shape of every tensor, under torchvision's and the paper's names.
pub fn shapes(backbone: Backbone) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    for (stage, layers) in backbone.stages().iter().enumerate() {
        for layer in layers {
            let name = format!("features.{}", layer.place);
            let weight = vec![layer.output, layer.input, layer.kernel, layer.kernel];
            shapes.push((format!("{name}.weight"), weight));
            shapes.push((format!("{name}.bias"), vec![layer.output]));
        }
        let channels = layers.last().map_or(0, |layer| layer.output);
        shapes.push((format!("lin{stage}.model.1.weight"), vec![1, channels, 1, 1]));
    }
    shapes
}

/// The distance whose tensors lie in one file or several: torchvision's `alexnet-owt-7be5be79.pth` or
/// `vgg16-397923af.pth` beside the paper's `alex.pth` or `vgg.pth`, or one file of the whole network. The
/// shapes say which network it is. `compute`: where and in which arithmetic it looks; a device alone stands for products
/// in f32, with which published numbers are made.
///
/// # Errors
/// `Error::Io`, `Error::Format`; `Error::Weights` for a tensor that is missing, has another shape, or a
/// number that is not finite.
pub fn load(files: &[PathBuf], compute: impl Into<Compute>) -> Result<Lpips> {
    let mut tensors = HashMap::new();
    for file in files {
        tensors.extend(weights::read(file)?);
    }
    let last = files.last().ok_or_else(|| Error::argument("LPIPS weights", "at least one file", "none"))?;
    from_tensors(last, tensors, compute)
}

/// The distance from tensors; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn from_tensors(
    path: &Path,
    tensors: HashMap<String, NamedTensor>,
    compute: impl Into<Compute>,
) -> Result<Lpips> {
    let Compute { device, products } = &compute.into();
    let mut tensors: HashMap<String, NamedTensor> =
        tensors.into_iter().map(|(name, tensor)| (plain_name(&name), tensor)).collect();
    let alex = tensors.get("features.0.weight").is_some_and(|first| first.shape == [64, 3, 11, 11]);
    let backbone = if alex { Backbone::AlexNet } else { Backbone::Vgg16 };
    let mut take = |name: &str, shape: &[usize]| parameters::take("LPIPS", path, &mut tensors, name, shape);
    let (mut stages, mut linear) = (Vec::new(), Vec::new());
    for (stage, layers) in backbone.stages().iter().enumerate() {
        let mut convolutions = Vec::new();
        for layer in layers {
            let shape = [layer.output, layer.input, layer.kernel, layer.kernel];
            let weight = take(&format!("features.{}.weight", layer.place), &shape)?;
            let bias = take(&format!("features.{}.bias", layer.place), &[layer.output])?;
            convolutions.push(Convolution {
                weight: Tensor::from_data(TensorData::new(weight, shape), device),
                bias: Tensor::from_data(TensorData::new(bias, [layer.output]), device),
                stride: layer.stride,
                padding: layer.padding,
            });
        }
        let channels = layers.last().map_or(0, |layer| layer.output);
        let weight = take(&format!("lin{stage}.model.1.weight"), &[1, channels, 1, 1])?;
        linear.push(Tensor::from_data(TensorData::new(weight, [channels]), device));
        stages.push(convolutions);
    }
    Ok(Lpips { features: BackboneNetwork { backbone, stages, products: *products }, linear })
}

/// A whole saved LPIPS names its network's layers `net.slice1.0` and lists its linear layers as `lins.0`.
fn plain_name(name: &str) -> String {
    if let Some((_, layer)) = name.strip_prefix("net.slice").and_then(|rest| rest.split_once('.')) {
        return format!("features.{layer}");
    }
    match name.strip_prefix("lins.") {
        Some(rest) => format!("lin{rest}"),
        None => name.to_owned(),
    }
}
