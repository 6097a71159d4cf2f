//! Parameters by name: the bridge between a network and a weight file.

mod loading;
pub mod on_device;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use calotype_kernels::memory::Buffer;

use super::compute::held_as;
use crate::files::{NamedTensor, StoredTensor};

pub use loading::{is_counter, load, take};

/// Where our fields are named otherwise than diffusers' and transformers' (ours, theirs). The numbered fields of
/// [`FeedForward`](super::transformer_2d::FeedForward), of the tiny autoencoder's block and of T5's are places in a
/// list, the autoencoder's attention lies flat in its block, and T5 names two fields as Python names classes.
const RENAMED: [(&str, &str); 7] = [
    (".net_", ".net."),
    (".attention.", "."),
    (".stack_", ".conv."),
    (".pool.place_", ".pool."),
    (".sublayer_", ".layer."),
    (".self_attention.", ".SelfAttention."),
    (".dense_relu_dense.", ".DenseReluDense."),
];

/// The way from the root of a network to a parameter.
#[derive(Default)]
pub(super) struct FieldPath(Vec<String>);

impl FieldPath {
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        // An enum's variant has no place in the key.
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    pub(super) fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// The key in the weight file: the field names, but for [`RENAMED`].
    pub(super) fn key(&self) -> String {
        let renamed = |key: String, (ours, theirs): &(&str, &str)| key.replace(ours, theirs);
        RENAMED.iter().fold(self.0.join("."), renamed)
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
            // The memory of a gradient is taken over; that of a parameter is the network's, and copied.
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

/// Adds to `sum` the gradients that there are, of the parameters that it names in the order of the fields; they are
/// taken out of `gradients`.
pub fn add_gradients<M: Module>(module: &M, gradients: &mut Gradients, sum: &mut [NamedTensor]) {
    struct Add<'a>(FieldPath, &'a mut Gradients, std::iter::Peekable<std::slice::IterMut<'a, NamedTensor>>);

    impl ModuleVisitor for Add<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.exit(container);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.0.key();
            let Some(sum) = self.2.next_if(|sum| sum.name == name) else { return };
            if let Some(gradient) = param.val().grad_remove(self.1) {
                let values = gradient.into_data().convert::<f32>();
                let values = values.as_slice::<f32>().expect("just converted to f32");
                sum.values.iter_mut().zip(values).for_each(|(sum, g)| *sum += g);
            }
        }
    }

    module.visit(&mut Add(FieldPath::default(), gradients, sum.iter_mut().peekable()));
}

/// Number of scalars in all parameters.
pub fn count<M: Module>(module: &M) -> usize {
    module.num_params()
}

struct Replace<F: FnMut(String, Vec<usize>) -> Option<StoredTensor>> {
    path: FieldPath,
    value: F,
}

impl<F: FnMut(String, Vec<usize>) -> Option<StoredTensor>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let Some(tensor) = (self.value)(self.path.key(), shape.to_vec()) else { return param };
        let device = param.lazy_device();
        let held = held_as(tensor.storage(), D, &device);
        let tensor = if held == tensor.storage() { tensor } else { tensor.stored_as(held) };
        Param::initialized(param.id, tensor.into_tensor(shape, &device))
    }
}

/// Replaces each parameter by what `value(name, shape)` returns (as many values as the shape has);
/// `None` keeps it.
///
/// # Panics
/// If there are not as many.
pub fn replace<M: Module>(module: M, mut value: impl FnMut(String, Vec<usize>) -> Option<Vec<f32>>) -> M {
    let value = |name: String, shape: Vec<usize>| {
        let values = value(name, shape.clone())?;
        Some(StoredTensor::from_f32(shape, values).expect("as many values as the shape has"))
    };
    module.map(&mut Replace { path: FieldPath::default(), value })
}

/// Replaces each parameter by the numbers that `value(name)` returns, in memory that goes round; `None` keeps it.
///
/// # Panics
/// If there are not as many numbers as the parameter has.
pub fn refill<M: Module>(module: M, mut value: impl FnMut(&str) -> Option<Buffer>) -> M {
    refill_tensors(module, |name, device| {
        let values = value(name)?;
        let shape = [values.len()];
        Some(Tensor::from_data(TensorData::from_bytes(values.into_bytes(), shape, DType::F32), device))
    })
}

/// Replaces each parameter by the tensor that `value(name, device)` returns, which is on that device; `None` keeps it.
///
/// # Panics
/// If there are not as many numbers as the parameter has.
pub fn refill_tensors<M: Module>(module: M, value: impl FnMut(&str, &Device) -> Option<Tensor<1>>) -> M {
    struct Refill<F>(FieldPath, F);

    impl<F: FnMut(&str, &Device) -> Option<Tensor<1>>> ModuleMapper for Refill<F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.exit(container);
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(values) = (self.1)(&self.0.key(), &param.lazy_device()) else { return param };
            let shape: [usize; D] = param.lazy_shape().dims();
            Param::initialized(param.id, values.reshape(shape))
        }
    }

    module.map(&mut Refill(FieldPath::default(), value))
}

/// `into` with the parameters of `from`, a network of the same shape, in f32.
pub fn copied<M: Module>(from: &M, into: M) -> M {
    let tensors = named_parameters(from).into_iter().map(|tensor| (tensor.name, tensor.values));
    let mut values: HashMap<String, Vec<f32>> = tensors.collect();
    replace(into, |name, _| values.remove(&name))
}

/// Name and shape of every parameter, in the order of the fields; nothing is initialised.
pub fn shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    struct Shapes(FieldPath, Vec<(String, Vec<usize>)>);

    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.exit(container);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.key(), param.lazy_shape().to_vec()));
        }
    }

    let mut visitor = Shapes(FieldPath::default(), Vec::new());
    module.visit(&mut visitor);
    visitor.1
}

struct Track<F: FnMut(&str) -> bool> {
    path: FieldPath,
    trains: F,
}

impl<F: FnMut(&str) -> bool> ModuleMapper for Track<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // A parameter may be a leaf of another graph already: of that, nothing is kept.
        let value = param.val().without_autodiff().autodiff();
        let value = if (self.trains)(&self.path.key()) { value.require_grad() } else { value };
        Param::initialized(param.id, value)
    }
}

/// A copy whose parameters are leaves of a new autodiff graph (the values are shared, not copied).
pub fn tracked<M: Module>(module: &M) -> M {
    tracked_where(module, |_| true)
}

/// The same, but only parameters that `trains` names have a gradient; the others are constants of the graph.
pub fn tracked_where<M: Module>(module: &M, trains: impl FnMut(&str) -> bool) -> M {
    module.clone().map(&mut Track { path: FieldPath::default(), trains })
}
