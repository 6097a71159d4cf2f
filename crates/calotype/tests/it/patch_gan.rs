//! The discriminator and the adaptive weight, beside PyTorch's (`tools/oracle/autoencoder_gan.py`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use calotype::autoencoder::{PatchDiscriminator, discriminator};
use calotype::files::{NamedTensor, safetensors};
use calotype::nn::{Conv2d, Init, parameters};
use serde_json::Value;

use crate::devices::on_each_device;

on_each_device!(
    output_and_every_gradient_of_the_hinge_loss,
    the_gradient_that_the_autoencoder_gets,
    the_weight_that_makes_both_gradients_equally_long,
);

const LAYERS: usize = 2;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

struct Golden(HashMap<String, NamedTensor>, Device);

impl Golden {
    fn open(device: &Device) -> Self {
        Self(safetensors::read(&golden("patch_gan.safetensors")).unwrap(), device.clone())
    }

    fn tensor(&self, name: &str) -> Tensor<4> {
        let NamedTensor { shape, values, .. } = &self.0[name];
        let shape: [usize; 4] = shape.as_slice().try_into().unwrap();
        Tensor::from_data(TensorData::new(values.clone(), shape), &self.1)
    }

    /// Differences are measured by the largest number of the tensor.
    fn assert_close(&self, name: &str, got: &[f32]) {
        let expected = &self.0[name].values;
        assert_eq!(got.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4 * largest, "{name}: expected {expected}, got {got}");
        }
    }
}

fn numbers(x: Tensor<4>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// The place in the script's list of layers for one of our names.
fn theirs(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').unwrap();
    let place = match layer {
        "first" => 0,
        "last" => 2 + 3 * LAYERS,
        _ => {
            let mut parts = layer.split('.').skip(1);
            let depth: usize = parts.next().unwrap().parse().unwrap();
            2 + 3 * depth + usize::from(parts.next() == Some("norm"))
        }
    };
    format!("main.{place}.{kind}")
}

fn network(golden: &Golden) -> PatchDiscriminator {
    let network = PatchDiscriminator::new(8, LAYERS, &mut Init::random(0, &golden.1));
    let network = parameters::replace(network, |name, shape| {
        let tensor = &golden.0[&format!("param.{}", theirs(&name))];
        assert_eq!(tensor.shape, shape, "{name}");
        Some(tensor.values.clone())
    });
    parameters::tracked(&network)
}

fn output_and_every_gradient_of_the_hinge_loss(device: &Device) {
    let golden = Golden::open(device);
    let network = network(&golden);
    let of = |side: &str| network.forward(golden.tensor(&format!("input.{side}")).autodiff());
    let (real, fake) = (of("real"), of("fake"));
    golden.assert_close("output.real", &numbers(real.clone().inner()));
    golden.assert_close("output.fake", &numbers(fake.clone().inner()));
    let loss = discriminator::hinge(real, fake);
    golden.assert_close("loss", &[loss.clone().into_scalar::<f32>()]);
    let mut gradients = loss.backward();
    for gradient in parameters::named_gradients(&network, &mut gradients) {
        golden.assert_close(&format!("grad.{}", theirs(&gradient.name)), &gradient.values);
    }
}

fn the_gradient_that_the_autoencoder_gets(device: &Device) {
    let golden = Golden::open(device);
    let network = network(&golden);
    let fake = golden.tensor("input.fake").autodiff().require_grad();
    let gradients = discriminator::generator(network.forward(fake.clone())).backward();
    golden.assert_close("grad_input.fake", &numbers(fake.grad(&gradients).unwrap()));
}

fn the_weight_that_makes_both_gradients_equally_long(device: &Device) {
    let golden = Golden::open(device);
    let case: Value = serde_json::from_str(&std::fs::read_to_string(golden_json()).unwrap()).unwrap();
    let gradient = |name: &str| golden.0[name].values.iter().map(|&g| f64::from(g)).collect::<Vec<_>>();
    let weight = case["weights"]["discriminator"].as_f64().unwrap();
    let got = discriminator::adaptive_weight(&gradient("step.grad_nll"), &gradient("step.grad_g"), weight);
    let expected = case["adaptive_weight"].as_f64().unwrap();
    assert!((got / expected - 1.0).abs() < 1e-5, "expected {expected}, got {got}");

    // Ours of the last layer, through our own discriminator.
    let judge = network(&golden);
    let NamedTensor { shape, values, .. } = &golden.0["step.last_layer"];
    let mut last = Conv2d::same(shape[1], shape[0], 3, &mut Init::random(0, device));
    last = parameters::replace(last, |name, _| match name.as_str() {
        "weight" => Some(values.clone()),
        _ => Some(golden.0["step.last_layer_bias"].values.clone()),
    });
    let last = parameters::tracked(&last);
    let features = calotype::nn::layout::channels_last(golden.tensor("step.features").autodiff());
    let reconstruction = calotype::nn::layout::channels_first(last.forward(features));
    let gradients = discriminator::generator(judge.forward(reconstruction)).backward();
    golden.assert_close("step.grad_g", &numbers(last.weight.val().grad(&gradients).unwrap()));
}

fn golden_json() -> PathBuf {
    golden("patch_gan.json")
}

#[test]
fn a_judge_is_a_constant_even_of_a_network_in_training() {
    let golden = Golden::open(&Device::flex());
    let trained = network(&golden);
    let judge = parameters::tracked_where(&trained, |_| false);
    let fake = golden.tensor("input.fake").autodiff().require_grad();
    let mut gradients = discriminator::generator(judge.forward(fake.clone())).backward();
    assert!(fake.grad(&gradients).is_some());
    for gradient in parameters::named_gradients(&trained, &mut gradients) {
        assert!(gradient.values.iter().all(|&g| g == 0.0), "{}", gradient.name);
    }
}
