//! Low-rank adaptation: W + (α/r) · B · A in place of W, with only A and B trained.
//!
//! Hu et al. 2021, arXiv:2106.09685, section 4.1.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::Init;
use super::parameters::{self, FieldPath};

/// The change of one weight.
#[derive(Module, Debug)]
pub struct LowRank {
    /// A: `[r, in]`, random at the start.
    pub down: Param<Tensor<2>>,
    /// B: `[out, r]`, zero at the start: then nothing is changed.
    pub up: Param<Tensor<2>>,
}

impl LowRank {
    /// B · A: `[out, in]`.
    fn product(&self) -> Tensor<2> {
        self.up.val().matmul(self.down.val())
    }
}

/// The changes of some weights of one network.
#[derive(Module, Debug)]
pub struct Lora {
    layers: Vec<LowRank>,
    /// Names of the weights, in the same order.
    #[module(skip)]
    names: Vec<String>,
    #[module(skip)]
    alpha: f64,
    #[module(skip)]
    rank: usize,
}

impl Lora {
    /// Changes of rank `rank` of the matrices of `network` whose layers end with one of `targets` (`to_q`,
    /// `to_out.0`), counting `alpha`/`rank`.
    pub fn new<M: Module>(network: &M, targets: &[String], rank: usize, alpha: f64, init: &mut Init) -> Self {
        let is_target = |name: &str| {
            let layer = name.strip_suffix(".weight").unwrap_or("");
            targets.iter().any(|target| layer == target || layer.ends_with(&format!(".{target}")))
        };
        let (mut layers, mut names) = (Vec::new(), Vec::new());
        for (name, shape) in parameters::shapes(network) {
            let (true, [output, input]) = (is_target(&name), shape.as_slice()) else { continue };
            layers.push(LowRank {
                down: init.fan_in([rank, *input], *input),
                up: init.constant([*output, rank], 0.0),
            });
            names.push(name);
        }
        Self { layers, names, alpha, rank }
    }

    /// Name of each changed weight, and its change.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &LowRank)> {
        self.names.iter().map(String::as_str).zip(&self.layers)
    }

    /// α.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// `network` with its weights changed. Where A and B are leaves of a graph, the changed weights belong to it and
    /// all others are its constants.
    pub fn applied<M: Module>(&self, network: M) -> M {
        let changes = self.layers().map(|(name, layer)| (name.to_owned(), layer.product() * self.scale()));
        let mut apply = Apply {
            path: FieldPath::default(),
            changes: changes.collect(),
            tracked: self.layers.first().is_some_and(|layer| layer.down.val().device().is_autodiff()),
        };
        network.map(&mut apply)
    }

    fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

struct Apply {
    path: FieldPath,
    changes: HashMap<String, Tensor<2>>,
    tracked: bool,
}

impl ModuleMapper for Apply {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = if self.tracked { param.val().autodiff() } else { param.val() };
        let value = match self.changes.remove(&self.path.key()) {
            Some(change) => {
                let shape: [usize; D] = value.dims();
                value + change.reshape(shape)
            }
            None => value,
        };
        Param::initialized(param.id, value)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::nn::Linear;

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn changes_nothing_at_first_and_then_by_the_scaled_product() {
        let device = Device::flex();
        let mut init = Init::random(0, &device);
        let layer = Linear::new(3, 2, true, &mut init);
        let mut lora = Lora::new(&layer, &["none".to_owned()], 1, 2.0, &mut init);
        assert_eq!(lora.names.len(), 0);
        lora.names.push("weight".into());
        lora.layers.push(LowRank { down: init.fan_in([1, 3], 3), up: init.constant([2, 1], 0.0) });
        assert_eq!(numbers(lora.applied(layer.clone()).weight.val()), numbers(layer.weight.val()));

        let of = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        lora.layers[0] = LowRank { down: of(vec![1.0, 2.0, 3.0], [1, 3]), up: of(vec![10.0, -1.0], [2, 1]) };
        let change = numbers(lora.applied(layer.clone()).weight.val() - layer.weight.val());
        let wanted = [20.0, 40.0, 60.0, -2.0, -4.0, -6.0];
        assert!(change.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{change:?}");
    }

    #[test]
    fn gradients_reach_both_matrices_and_nothing_else() {
        let device = Device::flex();
        let mut init = Init::random(0, &device);
        let layer = Linear::new(3, 2, true, &mut init);
        let up = init.fan_in([2, 1], 1);
        let lora = Lora {
            layers: vec![LowRank { down: init.fan_in([1, 3], 3), up }],
            names: vec!["weight".into()],
            alpha: 1.0,
            rank: 1,
        };
        let lora = parameters::tracked(&lora);
        let x = Tensor::<2>::ones([4, 3], &device).autodiff();
        let changed = lora.applied(layer);
        let mut gradients = changed.forward(x).square().sum().backward();
        assert!(
            parameters::named_gradients(&changed, &mut gradients)
                .iter()
                .all(|g| g.values.iter().all(|&v| v == 0.0))
        );
        let own = parameters::named_gradients(&lora, &mut gradients);
        assert_eq!(own.len(), 2);
        assert!(own.iter().all(|g| g.values.iter().all(|&v| v != 0.0)));
    }
}
