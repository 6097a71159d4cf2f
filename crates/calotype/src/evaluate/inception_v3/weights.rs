//! Inception's weights, under the names of torch-fidelity or of pytorch-fid.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::{BasicConv, CLASSES, InceptionV3};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, sha256, weights};
use crate::nn::parameters;

/// ε of the batch norms.
const EPSILON: f32 = 1e-3;

/// Name, input and output channels, kernel, stride, zeros at the border.
type Row = (&'static str, usize, usize, [usize; 2], usize, [usize; 2]);

/// The layers before the first block, and the block that cuts 35 × 35 to 17 × 17 and 17 × 17 to 8 × 8.
const SINGLE: [Row; 15] = [
    ("Conv2d_1a_3x3", 3, 32, [3, 3], 2, [0, 0]),
    ("Conv2d_2a_3x3", 32, 32, [3, 3], 1, [0, 0]),
    ("Conv2d_2b_3x3", 32, 64, [3, 3], 1, [1, 1]),
    ("Conv2d_3b_1x1", 64, 80, [1, 1], 1, [0, 0]),
    ("Conv2d_4a_3x3", 80, 192, [3, 3], 1, [0, 0]),
    ("Mixed_6a.branch3x3", 288, 384, [3, 3], 2, [0, 0]),
    ("Mixed_6a.branch3x3dbl_1", 288, 64, [1, 1], 1, [0, 0]),
    ("Mixed_6a.branch3x3dbl_2", 64, 96, [3, 3], 1, [1, 1]),
    ("Mixed_6a.branch3x3dbl_3", 96, 96, [3, 3], 2, [0, 0]),
    ("Mixed_7a.branch3x3_1", 768, 192, [1, 1], 1, [0, 0]),
    ("Mixed_7a.branch3x3_2", 192, 320, [3, 3], 2, [0, 0]),
    ("Mixed_7a.branch7x7x3_1", 768, 192, [1, 1], 1, [0, 0]),
    ("Mixed_7a.branch7x7x3_2", 192, 192, [1, 7], 1, [0, 3]),
    ("Mixed_7a.branch7x7x3_3", 192, 192, [7, 1], 1, [3, 0]),
    ("Mixed_7a.branch7x7x3_4", 192, 192, [3, 3], 2, [0, 0]),
];

/// Every convolution of the network.
fn table() -> Vec<(String, Row)> {
    let mut rows: Vec<(String, Row)> = SINGLE.iter().map(|row| (row.0.to_owned(), *row)).collect();
    let mut block = |name: &str, branches: &[Row]| {
        rows.extend(branches.iter().map(|row| (format!("{name}.{}", row.0), *row)));
    };
    for (name, input, pool) in [("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)] {
        block(
            name,
            &[
                ("branch1x1", input, 64, [1, 1], 1, [0, 0]),
                ("branch5x5_1", input, 48, [1, 1], 1, [0, 0]),
                ("branch5x5_2", 48, 64, [5, 5], 1, [2, 2]),
                ("branch3x3dbl_1", input, 64, [1, 1], 1, [0, 0]),
                ("branch3x3dbl_2", 64, 96, [3, 3], 1, [1, 1]),
                ("branch3x3dbl_3", 96, 96, [3, 3], 1, [1, 1]),
                ("branch_pool", input, pool, [1, 1], 1, [0, 0]),
            ],
        );
    }
    for (name, c) in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)] {
        block(
            name,
            &[
                ("branch1x1", 768, 192, [1, 1], 1, [0, 0]),
                ("branch7x7_1", 768, c, [1, 1], 1, [0, 0]),
                ("branch7x7_2", c, c, [1, 7], 1, [0, 3]),
                ("branch7x7_3", c, 192, [7, 1], 1, [3, 0]),
                ("branch7x7dbl_1", 768, c, [1, 1], 1, [0, 0]),
                ("branch7x7dbl_2", c, c, [7, 1], 1, [3, 0]),
                ("branch7x7dbl_3", c, c, [1, 7], 1, [0, 3]),
                ("branch7x7dbl_4", c, c, [7, 1], 1, [3, 0]),
                ("branch7x7dbl_5", c, 192, [1, 7], 1, [0, 3]),
                ("branch_pool", 768, 192, [1, 1], 1, [0, 0]),
            ],
        );
    }
    for (name, input) in [("Mixed_7b", 1280), ("Mixed_7c", 2048)] {
        block(
            name,
            &[
                ("branch1x1", input, 320, [1, 1], 1, [0, 0]),
                ("branch3x3_1", input, 384, [1, 1], 1, [0, 0]),
                ("branch3x3_2a", 384, 384, [1, 3], 1, [0, 1]),
                ("branch3x3_2b", 384, 384, [3, 1], 1, [1, 0]),
                ("branch3x3dbl_1", input, 448, [1, 1], 1, [0, 0]),
                ("branch3x3dbl_2", 448, 384, [3, 3], 1, [1, 1]),
                ("branch3x3dbl_3a", 384, 384, [1, 3], 1, [0, 1]),
                ("branch3x3dbl_3b", 384, 384, [3, 1], 1, [1, 0]),
                ("branch_pool", input, 192, [1, 1], 1, [0, 0]),
            ],
        );
    }
    rows
}

/// Name and shape of every tensor that the network is made of, under torch-fidelity's names.
pub fn shapes() -> Vec<(String, Vec<usize>)> {
    let of_convolution = |(name, (_, input, output, [k_h, k_w], ..)): (String, Row)| {
        let norm = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
        let norm = norm.map(|key| (format!("{name}.{key}"), vec![output]));
        std::iter::once((format!("{name}.conv.weight"), vec![output, input, k_h, k_w])).chain(norm)
    };
    let classifier = [("fc.weight".to_owned(), vec![CLASSES, 2048]), ("fc.bias".to_owned(), vec![CLASSES])];
    table().into_iter().flat_map(of_convolution).chain(classifier).collect()
}

/// pytorch-fid numbers the layers of its wrapped network; here under the names of the graph.
const PYTORCH_FID: [(&str, &str); 16] = [
    ("blocks.0.0.", "Conv2d_1a_3x3."),
    ("blocks.0.1.", "Conv2d_2a_3x3."),
    ("blocks.0.2.", "Conv2d_2b_3x3."),
    ("blocks.1.0.", "Conv2d_3b_1x1."),
    ("blocks.1.1.", "Conv2d_4a_3x3."),
    ("blocks.2.0.", "Mixed_5b."),
    ("blocks.2.1.", "Mixed_5c."),
    ("blocks.2.2.", "Mixed_5d."),
    ("blocks.2.3.", "Mixed_6a."),
    ("blocks.2.4.", "Mixed_6b."),
    ("blocks.2.5.", "Mixed_6c."),
    ("blocks.2.6.", "Mixed_6d."),
    ("blocks.2.7.", "Mixed_6e."),
    ("blocks.3.0.", "Mixed_7a."),
    ("blocks.3.1.", "Mixed_7b."),
    ("blocks.3.2.", "Mixed_7c."),
];

/// The network and the sha256 of its file.
///
/// `path`: `.pth`, `.pt` or `.bin` (PyTorch) or `.safetensors`.
///
/// # Errors
/// `Error::Io`, `Error::Format`; `Error::Weights` for a tensor that is missing or has another shape;
/// `Error::Format` for torchvision's weights, which are those of another network.
pub fn load(path: &Path, device: &Device) -> Result<(InceptionV3, String)> {
    let sha256 = sha256::of_file(path)?;
    Ok((from_tensors(path, weights::read(path)?, device)?, sha256))
}

/// The network from tensors under either naming; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn from_tensors(
    path: &Path,
    tensors: HashMap<String, NamedTensor>,
    device: &Device,
) -> Result<InceptionV3> {
    let mut tensors: HashMap<String, NamedTensor> =
        tensors.into_iter().map(|(name, tensor)| (graph_name(&name), tensor)).collect();
    let classes = tensors.get("fc.weight").and_then(|weight| weight.shape.first().copied());
    if tensors.keys().any(|name| name.starts_with("AuxLogits.")) || classes == Some(1000) {
        return Err(Error::format(
            path,
            "Inception weights for FID",
            "these are torchvision's, trained anew with other pools; FID is defined on TensorFlow's graph of \
             2015-12-05 (pt_inception-2015-12-05-6726825d.pth or weights-inception-2015-12-05-6726825d.pth)",
        ));
    }
    let mut convolutions = HashMap::new();
    for (name, (_, input, output, kernel, stride, padding)) in table() {
        let [k_h, k_w] = kernel;
        let mut take = |key: &str, shape: &[usize]| {
            parameters::take("Inception", path, &mut tensors, &format!("{name}.{key}"), shape)
        };
        let mut weight = take("conv.weight", &[output, input, k_h, k_w])?;
        let (gamma, mut beta) = (take("bn.weight", &[output])?, take("bn.bias", &[output])?);
        let (mean, variance) = (take("bn.running_mean", &[output])?, take("bn.running_var", &[output])?);
        // γ·(W ⋆ x − mean)/√(variance + ε) + β is one convolution.
        for (o, weight) in weight.chunks_exact_mut(input * k_h * k_w).enumerate() {
            let scale = gamma[o] / (variance[o] + EPSILON).sqrt();
            weight.iter_mut().for_each(|w| *w *= scale);
            beta[o] -= mean[o] * scale;
        }
        let weight = Tensor::from_data(TensorData::new(weight, [output, input, k_h, k_w]), device);
        let bias = Tensor::from_data(TensorData::new(beta, [output]), device);
        convolutions.insert(name, BasicConv { weight, bias, stride, padding });
    }
    let classifier = match classes {
        None => None,
        Some(_) => {
            let weight = parameters::take("Inception", path, &mut tensors, "fc.weight", &[CLASSES, 2048])?;
            let bias = parameters::take("Inception", path, &mut tensors, "fc.bias", &[CLASSES])?;
            Some((
                Tensor::from_data(TensorData::new(weight, [CLASSES, 2048]), device),
                Tensor::from_data(TensorData::new(bias, [CLASSES]), device),
            ))
        }
    };
    Ok(InceptionV3 { convolutions, classifier })
}

fn graph_name(name: &str) -> String {
    // Whole wrapped networks are saved with the name of the wrapper before it.
    let name = name.strip_prefix("base.").or(name.strip_prefix("inception.")).unwrap_or(name);
    for (theirs, graph) in PYTORCH_FID {
        if let Some(rest) = name.strip_prefix(theirs) {
            return format!("{graph}{rest}");
        }
    }
    name.to_owned()
}
