//! The rules on tensors beside those on the host's numbers; the CPU's tensors will do.

use super::*;
use crate::error::Error;
use crate::files::NamedTensor;
use crate::rng::{Philox, Purpose};

/// A norm, a layer and a kernel, filled with random numbers.
fn tensors(seed: u64) -> Vec<NamedTensor> {
    let shapes = [("norm.weight", vec![7]), ("layer.weight", vec![6, 5]), ("conv.weight", vec![3, 2, 3, 3])];
    let mut rng = Philox::new(0, Purpose::Weights, seed);
    let tensor = |(name, shape): (&str, Vec<usize>)| NamedTensor {
        name: name.into(),
        values: rng.normals(shape.iter().product()),
        shape,
    };
    shapes.into_iter().map(tensor).collect()
}

fn optimizer(text: &str) -> Optimizer {
    let config: OptimizerConfig = toml::from_str(text).unwrap();
    Optimizer::new(tensors(0), config.filled_in())
        .with_rate_factors(|name| if name.starts_with("conv") { 0.5 } else { 1.0 })
}

fn uploaded(gradients: Vec<NamedTensor>) -> DeviceGradients {
    DeviceGradients::uploaded(gradients, &Device::flex())
}

#[test]
fn every_rule_takes_the_steps_of_the_host() {
    for (text, tolerance) in [
        ("weight_decay = 0.1\nemas = [{ power = { sigma_rel = 0.1 } }]", 1e-6),
        ("rule = 'lion'\nema_decay = 0.9", 1e-6),
        // The host's iteration saves products by another order of them.
        ("rule = 'muon'\nweight_decay = 0.1", 1e-4),
    ] {
        let (mut host, mut taken) = (optimizer(text), optimizer(text));
        let mut on_device = OnDevice::new(&host, &Device::flex()).unwrap();
        for step in 0..9 {
            let [expected, got] = [
                host.step(&tensors(1 + step), 0.01).unwrap(),
                on_device.step(&uploaded(tensors(1 + step)), 0.01).unwrap(),
            ];
            assert!((got / expected - 1.0).abs() < 1e-6, "{text}: norm {got}, expected {expected}");
        }
        taken.take_back(&on_device);
        assert_eq!(taken.steps(), 9);
        for ((name, shape, expected), (_, got_shape, got)) in host.state().iter().zip(taken.state()) {
            assert_eq!(*shape, got_shape);
            let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (expected, got) in expected.iter().zip(got) {
                let difference = (expected - got).abs();
                assert!(difference <= tolerance * largest, "{text} {name}: {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn what_is_taken_back_goes_on_with_the_same_bits() {
    let text = "rule = 'muon'\nemas = [{ power = { sigma_rel = 0.1 } }]";
    let run = |on_device: &mut OnDevice, steps: std::ops::Range<u64>| {
        steps.for_each(|step| {
            on_device.step(&uploaded(tensors(1 + step)), 0.01).unwrap();
        });
    };
    let (mut whole, mut parts) = (optimizer(text), optimizer(text));
    let mut on_device = OnDevice::new(&whole, &Device::flex()).unwrap();
    run(&mut on_device, 0..6);
    whole.take_back(&on_device);
    for steps in [0..2, 2..6] {
        let mut on_device = OnDevice::new(&parts, &Device::flex()).unwrap();
        run(&mut on_device, steps);
        parts.take_back(&on_device);
    }
    assert_eq!(parts.state(), whole.state());
}

#[test]
fn gradients_that_do_not_fit_change_nothing() {
    let mut host = optimizer("");
    let mut on_device = OnDevice::new(&host, &Device::flex()).unwrap();
    let before = host.state().into_iter().map(|(.., values)| values.to_vec()).collect::<Vec<_>>();
    let mut renamed = tensors(1);
    renamed[1].name.push('x');
    let mut infinite = tensors(1);
    infinite[1].values[3] = f32::INFINITY;
    let error = on_device.step(&uploaded(infinite), 0.01).unwrap_err().to_string();
    assert!(error.starts_with("gradient of `layer.weight` is not finite at step 0"), "{error}");
    for gradients in [renamed, tensors(1)[..2].to_vec()] {
        assert!(matches!(on_device.step(&uploaded(gradients), 0.01), Err(Error::Shape { .. })));
    }
    host.take_back(&on_device);
    assert_eq!(host.state().into_iter().map(|(.., values)| values.to_vec()).collect::<Vec<_>>(), before);
}

#[test]
fn bounds_hold_for_weights_and_averages() {
    let mut host = optimizer("");
    let mut on_device = OnDevice::new(&host, &Device::flex()).unwrap();
    on_device.bound("norm.weight", -5.0);
    host.take_back(&on_device);
    let averages = host.average(0).unwrap();
    for (name, _, values) in host.values().chain(averages) {
        assert_eq!(values.iter().all(|&x| x == -5.0), name == "norm.weight");
    }
}

#[test]
fn adafactor_stays_on_the_host() {
    assert!(OnDevice::new(&optimizer("rule = 'adafactor'"), &Device::flex()).is_none());
}
