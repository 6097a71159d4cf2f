//! FID's Inception against torch-fidelity's, with weights and pictures that both make by one formula
//! (`tools/oracle/inception.py`).

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use calotype::evaluate::inception_v3::{InceptionV3, Tap, one, weights};
use calotype::evaluate::protocol::Protocol;
use calotype::files::NamedTensor;
use serde::Deserialize;

use crate::devices::on_each_device;
use crate::formula::inception::{tensor, tensors};
use crate::formula::picture;
use crate::golden::Golden;

#[derive(Deserialize)]
struct Case {
    height: u32,
    width: u32,
    tf_fid: HashMap<String, Numbers>,
    pytorch_fid: Numbers,
    clean: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    first: Vec<f64>,
    sum: f64,
    sum_of_squares: f64,
}

impl Numbers {
    /// Within 10⁻⁴ of the size of the numbers.
    fn assert_close(&self, got: &Tensor<2>, name: &str) {
        let got: Vec<f64> = got.to_data().iter::<f64>().collect();
        let norm = self.sum_of_squares.sqrt();
        let scale = norm / (got.len() as f64).sqrt();
        for (got, expected) in got.iter().zip(&self.first) {
            assert!(
                (got - expected).abs() < 1e-4 * scale.max(expected.abs()),
                "{name}: {got}, expected {expected}"
            );
        }
        let sum: f64 = got.iter().sum();
        let squares: f64 = got.iter().map(|v| v * v).sum();
        assert!((sum - self.sum).abs() < 1e-4 * norm, "{name}: sum {sum}, expected {}", self.sum);
        assert!((squares.sqrt() - norm).abs() < 1e-4 * norm, "{name}: {squares} {}", self.sum_of_squares);
    }
}

fn network(tensors: HashMap<String, NamedTensor>, device: &Device) -> calotype::Result<InceptionV3> {
    weights::from_tensors(Path::new("inception.pth"), tensors, device)
}

on_each_device!(features_equal_torch_fidelitys);

fn features_equal_torch_fidelitys(device: &Device) {
    let file: Golden<Case> = serde_json::from_str(include_str!("../golden/inception.json")).unwrap();
    let network = network(tensors(), device).unwrap();
    let taps = [
        ("64", Tap::Pool1),
        ("192", Tap::Pool2),
        ("768", Tap::Mixed6e),
        ("2048", Tap::Pool3),
        ("logits_unbiased", Tap::LogitsUnbiased),
        ("logits", Tap::Logits),
    ];
    for (p, case) in file.cases.iter().enumerate() {
        let picture = picture(p as f64, case.width, case.height);
        let run = |protocol: Protocol| {
            let x = one(protocol.prepare(&picture).unwrap(), device);
            network.forward(x, &taps.map(|(_, tap)| tap)).unwrap()
        };
        for ((name, tap), got) in taps.iter().zip(run(Protocol::TfFid)) {
            assert_eq!(got.dims(), [1, tap.dimension()]);
            case.tf_fid[*name].assert_close(&got, &format!("picture {p}, {name}"));
        }
        case.pytorch_fid.assert_close(&run(Protocol::PytorchFid)[3], &format!("picture {p}, pytorch-fid"));
        case.clean.assert_close(&run(Protocol::Clean)[3], &format!("picture {p}, clean"));
    }
}

#[test]
fn weights_that_are_not_fids_are_refused() {
    let without = |missing: &str| {
        let mut tensors = tensors();
        tensors.remove(missing);
        tensors
    };
    let error =
        network(without("Mixed_6b.branch7x7_2.conv.weight"), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("Mixed_6b.branch7x7_2.conv.weight") && error.contains("missing"), "{error}");

    let mut torchvision = tensors();
    torchvision.insert("fc.weight".into(), tensor("fc.weight", &[1000, 2048]));
    let error = network(torchvision, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("torchvision") && error.contains("2015-12-05"), "{error}");

    let mut broken = tensors();
    broken.get_mut("Conv2d_1a_3x3.bn.bias").unwrap().values[3] = f32::NAN;
    assert!(network(broken, &Device::flex()).unwrap_err().to_string().contains("finite"));

    // pytorch-fid's wrapped network has no classifier.
    let network = network(without("fc.weight"), &Device::flex()).unwrap();
    let x = one(vec![0.0; 299 * 299 * 3], &Device::flex());
    assert!(!network.has_classifier());
    let error = network.forward(x, &[Tap::Logits]).unwrap_err().to_string();
    assert!(error.contains("a file with the classifier `fc`"), "{error}");
}
