//! T5's encoder against transformers, on small models with random weights.
//!
//! Tolerances are the largest differences that the golden files' README allows.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use calotype::checkpoint::probe::Probe;
use calotype::files::{NamedTensor, safetensors};
use calotype::nn::{Init, parameters};
use calotype::text_encoder::{T5Config, T5Encoder};
use serde::Deserialize;

use crate::support::TempDir;

#[derive(Deserialize)]
struct Cases {
    probe: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    component: String,
    case: String,
    tolerance: std::collections::BTreeMap<String, f32>,
}

fn golden() -> PathBuf {
    PathBuf::from(std::env::var_os("CALOTYPE_TEST_DATA").expect("see CONTRIBUTING.md")).join("golden-flux")
}

fn cases() -> Vec<Case> {
    let cases: Cases = serde_json::from_slice(&fs::read(golden().join("cases.json")).unwrap()).unwrap();
    let cases: Vec<Case> =
        cases.probe.into_iter().filter(|case| case.component == "text-encoder-2").collect();
    assert_eq!(cases.len(), 2);
    cases
}

/// Probes `model` on a case's inputs; T5 gives `output` alone.
fn probed(case: &Case, model: &Path) -> NamedTensor {
    let dir = TempDir::new();
    let (inputs, output) = (format!("tensors/{}.inputs.safetensors", case.case), dir.join("out.safetensors"));
    Probe::TextEncoder2.run(model, &golden().join(inputs), &output, &Device::flex()).unwrap();
    let mut outputs = safetensors::read(&output).unwrap();
    assert_eq!(outputs.len(), 1, "{}", case.case);
    outputs.remove("output").unwrap()
}

fn assert_as_expected(case: &Case, got: &NamedTensor, what: &str) {
    let path = golden().join(format!("tensors/{}.expected.safetensors", case.case));
    let expected = safetensors::read(&path).unwrap().remove("output").unwrap();
    assert_eq!(got.shape, expected.shape, "{}: {what}", case.case);
    let differences = got.values.iter().zip(&expected.values).map(|(got, expected)| (got - expected).abs());
    let worst =
        differences.fold(0.0, |worst: f32, x| if x.is_finite() { worst.max(x) } else { f32::INFINITY });
    let tolerance = case.tolerance["output"];
    println!("{}, {what}: {worst:e}, allowed {tolerance:e}", case.case);
    assert!(worst <= tolerance, "{}: {what}: differs by {worst}, allowed {tolerance}", case.case);
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn features_are_those_of_transformers() {
    for case in cases() {
        assert_as_expected(&case, &probed(&case, &golden().join(&case.model)), "in a model folder");
        let folder = golden().join(&case.model).join("text_encoder_2");
        assert_as_expected(&case, &probed(&case, &folder), "in its own folder");
        // Its sizes follow from its shapes.
        assert_as_expected(&case, &probed(&case, &folder.join("model.safetensors")), "in one file");
    }
}

/// As T5 XXL is published: shards, and the table under either of its names.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn shards_and_names_make_no_difference() {
    for case in cases() {
        let from = golden().join(&case.model).join("text_encoder_2");
        let mut tensors: Vec<NamedTensor> =
            safetensors::read(&from.join("model.safetensors")).unwrap().into_values().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let dir = TempDir::new();
        fs::copy(from.join("config.json"), dir.join("config.json")).unwrap();
        tensors.retain(|tensor| tensor.name != "encoder.embed_tokens.weight");
        for table in ["shared.weight", "encoder.embed_tokens.weight"] {
            let named = |tensor: &NamedTensor| match tensor.name.as_str() {
                "shared.weight" => NamedTensor { name: table.into(), ..tensor.clone() },
                _ => tensor.clone(),
            };
            let tensors: Vec<NamedTensor> = tensors.iter().map(named).collect();
            let mut map = serde_json::Map::new();
            for (i, shard) in tensors.chunks(7).enumerate() {
                let file = format!("model-{i}.safetensors");
                safetensors::write(&dir.join(&file), shard).unwrap();
                map.extend(shard.iter().map(|tensor| (tensor.name.clone(), file.clone().into())));
            }
            let index = serde_json::json!({ "metadata": {}, "weight_map": map });
            dir.write("model.safetensors.index.json", index.to_string());
            assert_as_expected(&case, &probed(&case, &dir), table);
        }
        fs::remove_file(dir.join("model-1.safetensors")).unwrap();
        let output = dir.join("out.safetensors");
        let inputs = golden().join(format!("tensors/{}.inputs.safetensors", case.case));
        let error = Probe::TextEncoder2.run(&dir, &inputs, &output, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("model-1.safetensors") && !output.exists(), "{error}");
    }
}

#[test]
fn parameters_have_the_names_of_transformers() {
    let config = T5Config { num_layers: 2, ..tiny() };
    let network = T5Encoder::new(&config, &mut Init::zeros(&Device::flex())).unwrap();
    let mut names: Vec<String> = parameters::shapes(&network).into_iter().map(|(name, _)| name).collect();
    let attention = ["k", "o", "q", "v"].map(|name| format!("layer.0.SelfAttention.{name}"));
    let dense = ["wi_0", "wi_1", "wo"].map(|name| format!("layer.1.DenseReluDense.{name}"));
    let norms = [0, 1].map(|layer| format!("layer.{layer}.layer_norm"));
    let of_block = [&attention[..], &dense[..], &norms[..]].concat();
    let mut expected: Vec<String> = (0..2)
        .flat_map(|i| of_block.iter().map(move |name| format!("encoder.block.{i}.{name}.weight")))
        .chain(["shared.weight".into(), "encoder.final_layer_norm.weight".into()])
        .chain(["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".into()])
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

fn tiny() -> T5Config {
    T5Config {
        vocab_size: 11,
        d_model: 12,
        d_kv: 4,
        d_ff: 16,
        num_layers: 1,
        num_heads: 2,
        ..T5Config::default()
    }
}

#[test]
fn texts_are_read_side_by_side_and_checked() {
    let network = T5Encoder::new(&tiny(), &mut Init::random(3, &Device::flex())).unwrap();
    let refused = |ids: &[Vec<u32>]| network.forward(ids).unwrap_err().to_string();
    assert!(refused(&[vec![3, 11]]).contains("tokens below 11, got 11"));
    assert!(refused(&[vec![3], vec![1, 2]]).contains("rows of one length"));
    assert!(refused(&[]).contains("rows of one length"));
    // A text's features do not depend on those beside it.
    let both = network.forward(&[vec![3, 5, 1, 0], vec![7, 1, 0, 0]]).unwrap();
    let one = network.forward(&[vec![7, 1, 0, 0]]).unwrap();
    let difference: f32 = (both.narrow(0, 1, 1) - one).abs().max().into_scalar();
    assert!(difference < 1e-6, "{difference}");
}
