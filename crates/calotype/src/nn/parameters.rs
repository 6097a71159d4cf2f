//! Parameters by name: the bridge between a network and a weight file.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use crate::error::{Error, Result};

/// One tensor in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// diffusers' or transformers' key.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// The way from the root of a network to a parameter.
#[derive(Default)]
struct FieldPath(Vec<String>);

impl FieldPath {
    fn enter(&mut self, name: &str, container: &str) {
        // An enum's variant has no place in the key.
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// The key in the weight file: the field names, but for two blocks whose Rust structure differs
    /// from diffusers'. The numbered fields of [`FeedForward`](super::transformer_2d::FeedForward)
    /// are places in a list, and the autoencoder's attention lies flat in its block.
    fn key(&self) -> String {
        self.0.join(".").replace(".net_", ".net.").replace(".attention.", ".")
    }
}

struct Collect<'a, F: FnMut(String, TensorData)> {
    path: FieldPath,
    gradients: Option<&'a mut Gradients>,
    each: F,
}

impl<F: FnMut(String, TensorData)> ModuleVisitor for Collect<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = match &mut self.gradients {
            None => param.val().into_data(),
            // A parameter that the loss does not reach has a gradient of zero.
            Some(gradients) => match param.val().grad_remove(gradients) {
                Some(gradient) => gradient.into_data(),
                None => param.val().inner().zeros_like().into_data(),
            },
        };
        (self.each)(self.path.key(), data);
    }
}

fn collect<M: Module>(module: &M, gradients: Option<&mut Gradients>) -> Vec<NamedTensor> {
    let mut out = Vec::new();
    module.visit(&mut Collect {
        path: FieldPath::default(),
        gradients,
        each: |name, data: TensorData| {
            let shape = data.shape().to_vec();
            let values = data.convert::<f32>().try_into_vec::<f32>().expect("just converted to f32");
            out.push(NamedTensor { name, shape, values });
        },
    });
    out
}

/// All parameters, in the order of the fields.
pub fn named_parameters<M: Module>(module: &M) -> Vec<NamedTensor> {
    collect(module, None)
}

/// The gradient of every parameter, in the same order; zeros where the loss does not depend on it. They are
/// taken out of `gradients`, so that each is in memory once.
pub fn named_gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Vec<NamedTensor> {
    collect(module, Some(gradients))
}

/// Number of scalars in all parameters.
pub fn count<M: Module>(module: &M) -> usize {
    module.num_params()
}

struct Replace<F: FnMut(String, Vec<usize>) -> Option<Vec<f32>>> {
    path: FieldPath,
    value: F,
}

impl<F: FnMut(String, Vec<usize>) -> Option<Vec<f32>>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let device = param.val().device();
        match (self.value)(self.path.key(), shape.to_vec()) {
            Some(values) => {
                Param::initialized(param.id, Tensor::from_data(TensorData::new(values, shape), &device))
            }
            None => param,
        }
    }
}

/// Replaces each parameter by what `value(name, shape)` returns (as many values as the shape has);
/// `None` keeps it.
pub fn replace<M: Module>(module: M, value: impl FnMut(String, Vec<usize>) -> Option<Vec<f32>>) -> M {
    module.map(&mut Replace { path: FieldPath::default(), value })
}

/// Takes one tensor out of those of a weight file; `model` and `path` are for messages.
///
/// # Errors
/// `Error::Weights` for a tensor that is missing, has another shape, or a number that is not finite.
pub fn take(
    model: &'static str,
    path: &Path,
    tensors: &mut HashMap<String, NamedTensor>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    let wrong = |got: String| Error::Weights {
        model,
        path: path.to_owned(),
        tensor: name.to_owned(),
        expected: format!("{shape:?}"),
        got,
    };
    let tensor = tensors.remove(name).ok_or_else(|| wrong("missing".into()))?;
    match tensor.shape == shape {
        true if tensor.values.iter().all(|v| v.is_finite()) => Ok(tensor.values),
        true => Err(wrong("numbers that are not finite".into())),
        false => Err(wrong(format!("{:?}", tensor.shape))),
    }
}

/// Puts the tensors of a weight file into a network.
///
/// # Errors
/// `Error::Weights` for the first tensor that is missing, has another shape, or that the network
/// does not know.
pub fn load<M: Module>(
    module: M,
    model: &'static str,
    path: &Path,
    mut tensors: HashMap<String, NamedTensor>,
) -> Result<M> {
    let wrong = |tensor: &str, expected: String, got: String| Error::Weights {
        model,
        path: path.to_owned(),
        tensor: tensor.to_owned(),
        expected,
        got,
    };
    let mut first_error = None;
    let module = replace(module, |name, shape| match tensors.remove(&name) {
        Some(tensor) if same_shape(&tensor.shape, &shape) => Some(tensor.values),
        Some(tensor) => {
            first_error.get_or_insert(wrong(&name, format!("{shape:?}"), format!("{:?}", tensor.shape)));
            None
        }
        None => {
            first_error.get_or_insert(wrong(&name, format!("{shape:?}"), "no such tensor".into()));
            None
        }
    });
    if let Some(error) = first_error {
        return Err(error);
    }
    // Old transformers versions stored the constant 0..n beside the position embedding.
    let known_constants: HashSet<&str> = ["position_ids"].into();
    let mut extra: Vec<&NamedTensor> = tensors
        .values()
        .filter(|t| !known_constants.contains(t.name.rsplit('.').next().unwrap_or("")))
        .collect();
    extra.sort_by(|a, b| a.name.cmp(&b.name));
    match extra.first() {
        Some(tensor) => Err(wrong(&tensor.name, "no such tensor".into(), format!("{:?}", tensor.shape))),
        None => Ok(module),
    }
}

/// PyTorch's scalars have shape `[]`, ours `[1]`.
fn same_shape(file: &[usize], ours: &[usize]) -> bool {
    file == ours || (file.is_empty() && ours == [1])
}

struct Track;

impl ModuleMapper for Track {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        Param::initialized(param.id, param.val().autodiff().require_grad())
    }
}

/// A copy whose parameters are leaves of a new autodiff graph (the values are shared, not copied).
pub fn tracked<M: Module>(module: &M) -> M {
    module.clone().map(&mut Track)
}
