//! Gradients of parameters as tensors, which stay on the network's device.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor};

use super::FieldPath;

/// The numbers of a parameter, or of its gradient, on a device.
#[derive(Debug, Clone)]
pub struct DeviceTensor {
    /// The parameter's name.
    pub name: String,
    /// The parameter's shape.
    pub shape: Vec<usize>,
    /// As many numbers as the shape has, in f32: `[n]`.
    pub values: Tensor<1>,
}

/// The gradient of every parameter that `trains` names, in the order of the fields; zeros where the loss does not depend
/// on it. They are taken out of `gradients`.
pub fn device_gradients<M: Module>(
    module: &M,
    gradients: &mut Gradients,
    trains: impl Fn(&str) -> bool,
) -> Vec<DeviceTensor> {
    struct Collect<'a, F: Fn(&str) -> bool> {
        path: FieldPath,
        gradients: &'a mut Gradients,
        trains: F,
        found: Vec<DeviceTensor>,
    }

    impl<F: Fn(&str) -> bool> ModuleVisitor for Collect<'_, F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.key();
            if !(self.trains)(&name) {
                return;
            }
            let value = param.val();
            let shape = value.shape().to_vec();
            let gradient = value.grad_remove(self.gradients).unwrap_or_else(|| value.inner().zeros_like());
            let values = gradient.reshape([shape.iter().product::<usize>()]).cast(DType::F32);
            self.found.push(DeviceTensor { name, shape, values });
        }
    }

    let mut collect = Collect { path: FieldPath::default(), gradients, trains, found: vec![] };
    module.visit(&mut collect);
    collect.found
}
