//! LPIPS and MS-SSIM against the packages that published numbers come from, with weights and pictures that
//! both make by one formula (`tools/oracle/perceptual.py`).

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use calotype::Error;
use calotype::autoencoder::lpips::{Backbone, Lpips, weights};
use calotype::data::tensors::to_tensor;
use calotype::evaluate::ms_ssim::ms_ssim_rgb;
use calotype::files::NamedTensor;
use serde::Deserialize;

use crate::devices::on_each_device;
use crate::formula::{picture, uniform};
use crate::golden::Golden;

#[derive(Deserialize)]
struct Case {
    height: u32,
    width: u32,
    alex: f64,
    vgg: f64,
    ms_ssim: Option<f64>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str::<Golden<Case>>(include_str!("../golden/perceptual.json")).unwrap().cases
}

fn tensor((name, shape): (String, Vec<usize>)) -> (String, NamedTensor) {
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    let value = |u: f64| match &name {
        _ if name.starts_with("lin") => u,
        _ if name.ends_with("weight") => (2.0 * u - 1.0) * (6.0 / fan_in).sqrt(),
        _ => 0.2 * (2.0 * u - 1.0),
    };
    let values = uniform(&name, shape.iter().product()).map(|u| value(u) as f32).collect();
    (name.clone(), NamedTensor { name, shape, values })
}

fn tensors(backbone: Backbone) -> HashMap<String, NamedTensor> {
    weights::shapes(backbone).into_iter().map(tensor).collect()
}

fn network(tensors: HashMap<String, NamedTensor>, device: &Device) -> calotype::Result<Lpips> {
    weights::from_tensors(Path::new("alex.pth"), tensors, device)
}

fn pair(p: usize, case: &Case) -> [image::RgbImage; 2] {
    [0.0, 0.2].map(|shift| picture(p as f64 + shift, case.width, case.height))
}

fn distance(network: &Lpips, pair: &[image::RgbImage; 2], device: &Device) -> f64 {
    let [x, y]: [Tensor<4>; 2] = [0, 1].map(|i| to_tensor(std::slice::from_ref(&pair[i]), device).unwrap());
    network.distance(x, y).unwrap().into_data().iter::<f64>().sum()
}

on_each_device!(lpips_equals_the_papers_code);

fn lpips_equals_the_papers_code(device: &Device) {
    for backbone in [Backbone::AlexNet, Backbone::Vgg16] {
        let network = network(tensors(backbone), device).unwrap();
        assert_eq!(network.backbone(), backbone);
        for (p, case) in cases().iter().enumerate() {
            let expected = if backbone == Backbone::AlexNet { case.alex } else { case.vgg };
            let pair = pair(p, case);
            let found = distance(&network, &pair, device);
            assert!((found / expected - 1.0).abs() < 1e-4, "{backbone:?} {p}: {found}, expected {expected}");
            assert_eq!(distance(&network, &[pair[0].clone(), pair[0].clone()], device), 0.0);
        }
    }
}

#[test]
fn ms_ssim_equals_pytorch_msssim() {
    let mut compared = 0;
    for (p, case) in cases().iter().enumerate() {
        let [x, y] = pair(p, case);
        let found = ms_ssim_rgb(&x, &y);
        match case.ms_ssim {
            // Their window is in f32.
            Some(expected) => {
                let found = found.unwrap();
                assert!((found - expected).abs() < 1e-6, "{p}: {found}, expected {expected}");
                compared += 1;
            }
            None => assert!(matches!(found, Err(Error::Shape { .. })), "{found:?}"),
        }
    }
    assert_eq!(compared, 3);
}

#[test]
fn a_whole_saved_network_has_other_names() {
    let renamed = |(name, tensor): (String, NamedTensor)| match name.strip_prefix("features.") {
        Some(layer) => (format!("net.slice1.{layer}"), tensor),
        None => (name.replace("lin", "lins."), tensor),
    };
    let whole = tensors(Backbone::AlexNet).into_iter().map(renamed).collect();
    let pair = pair(0, &cases()[0]);
    let device = Device::flex();
    let plain = network(tensors(Backbone::AlexNet), &device).unwrap();
    let renamed = network(whole, &device).unwrap();
    assert_eq!(distance(&renamed, &pair, &device), distance(&plain, &pair, &device));
}

#[test]
fn weights_and_pictures_that_do_not_fit_are_refused() {
    let device = &Device::flex();
    let mut without = tensors(Backbone::Vgg16);
    without.remove("lin3.model.1.weight");
    let error = network(without, device).unwrap_err().to_string();
    assert!(error.contains("lin3.model.1.weight") && error.contains("missing"), "{error}");

    // AlexNet's layers beside the linear layers of VGG-16.
    let mut mixed = tensors(Backbone::Vgg16);
    mixed.extend(tensors(Backbone::AlexNet).into_iter().filter(|(name, _)| name.starts_with("features")));
    assert!(network(mixed, device).unwrap_err().to_string().contains("lin1.model.1.weight"));

    for backbone in [Backbone::AlexNet, Backbone::Vgg16] {
        let network = network(tensors(backbone), device).unwrap();
        let of = |h: usize, w: usize| {
            let x = Tensor::<4>::zeros([1, 3, h, w], device);
            network.distance(x.clone(), x).map(|d| d.into_data().iter::<f64>().sum::<f64>())
        };
        let least = backbone.smallest_side();
        assert_eq!(of(least, least).unwrap(), 0.0);
        for (height, width) in [(least - 1, least), (least, least - 1)] {
            let found = of(height, width);
            assert!(matches!(found, Err(Error::Shape { .. })), "{found:?}");
        }
    }
}
