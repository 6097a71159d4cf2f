//! T5's encoder against transformers, on small models with random weights.
//!
//! Tolerances are the largest differences that the golden files' README allows.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use calotype::checkpoint::probe::Probe;
use calotype::files::{NamedTensor, safetensors};
use calotype::nn::{Init, parameters};
use calotype::text_encoder::{T5Config, T5Encoder};
use serde::Deserialize;

use crate::flux::golden_flux;
use crate::support::{GgufFile, TempDir};

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

fn cases() -> Vec<Case> {
    let cases: Cases = serde_json::from_slice(&fs::read(golden_flux().join("cases.json")).unwrap()).unwrap();
    let cases: Vec<Case> =
        cases.probe.into_iter().filter(|case| case.component == "text-encoder-2").collect();
    assert_eq!(cases.len(), 2);
    cases
}

/// Probes `model` on a case's inputs; T5 gives `output` alone.
fn probed(case: &Case, model: &Path) -> NamedTensor {
    let dir = TempDir::new();
    let (inputs, output) = (format!("tensors/{}.inputs.safetensors", case.case), dir.join("out.safetensors"));
    Probe::TextEncoder2.run(model, &golden_flux().join(inputs), &output, &Device::flex()).unwrap();
    let mut outputs = safetensors::read(&output).unwrap();
    assert_eq!(outputs.len(), 1, "{}", case.case);
    outputs.remove("output").unwrap()
}

fn assert_as_expected(case: &Case, got: &NamedTensor, what: &str) {
    let path = golden_flux().join(format!("tensors/{}.expected.safetensors", case.case));
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
        assert_as_expected(&case, &probed(&case, &golden_flux().join(&case.model)), "in a model folder");
        let folder = golden_flux().join(&case.model).join("text_encoder_2");
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
        let from = golden_flux().join(&case.model).join("text_encoder_2");
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
        let inputs = golden_flux().join(format!("tensors/{}.inputs.safetensors", case.case));
        let error = Probe::TextEncoder2.run(&dir, &inputs, &output, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("model-1.safetensors") && !output.exists(), "{error}");
    }
}

/// llama.cpp's name of a tensor.
fn llama_name(name: &str) -> String {
    let names = [
        ("shared", "token_embd"),
        ("encoder.final_layer_norm", "enc.output_norm"),
        ("encoder.block", "enc.blk"),
        ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
        ("layer.0.SelfAttention.", "attn_"),
        ("layer.0.layer_norm", "attn_norm"),
        ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
        ("layer.1.DenseReluDense.wi_1", "ffn_up"),
        ("layer.1.DenseReluDense.wo", "ffn_down"),
        ("layer.1.layer_norm", "ffn_norm"),
    ];
    names.iter().fold(name.to_owned(), |name, (theirs, llama)| name.replace(theirs, llama))
}

/// Q8_0: d = largest / 127 in f16, and the rounded quotients; (blocks, the numbers that they stand for).
fn q8_0(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let (mut blocks, mut numbers) = (Vec::new(), Vec::new());
    for block in values.chunks(32) {
        let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let d = burn::tensor::f16::from_f32(largest / 127.0);
        blocks.extend(d.to_le_bytes());
        for value in block {
            let q = (value / d.to_f32()).round().clamp(-127.0, 127.0) as i8;
            blocks.push(q as u8);
            numbers.push(d.to_f32() * f32::from(q));
        }
    }
    (blocks, numbers)
}

/// The encoder alone in llama.cpp's GGUF, f32 and Q8_0, beside the same numbers in a folder.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn gguf_of_llama_cpp_gives_the_same_features() {
    for case in cases() {
        let from = golden_flux().join(&case.model).join("text_encoder_2");
        let mut tensors: Vec<NamedTensor> =
            safetensors::read(&from.join("model.safetensors")).unwrap().into_values().collect();
        tensors.retain(|tensor| tensor.name != "encoder.embed_tokens.weight");
        let dir = TempDir::new();
        let file = GgufFile::new().text("general.architecture", "t5encoder");
        let floats = tensors.iter().fold(file.clone(), |file, tensor| {
            file.floats(&llama_name(&tensor.name), &tensor.shape, &tensor.values)
        });
        // A whole T5 has a decoder too.
        let floats = floats.floats("dec.blk.0.attn_q.weight", &[2, 2], &[0.0; 4]);
        dir.write("floats.gguf", floats.bytes());
        assert_as_expected(&case, &probed(&case, &dir.join("floats.gguf")), "f32 in GGUF");
        let mut blocks = 0;
        let mut file = file;
        for tensor in &mut tensors {
            if tensor.shape.len() == 2 && tensor.shape[1] % 32 == 0 {
                let (packed, numbers) = q8_0(&tensor.values);
                file = file.tensor(&llama_name(&tensor.name), &tensor.shape, 8, &packed);
                tensor.values = numbers;
                blocks += 1;
            } else {
                file = file.floats(&llama_name(&tensor.name), &tensor.shape, &tensor.values);
            }
        }
        dir.write("q8_0.gguf", file.bytes());
        safetensors::write(&dir.join("model.safetensors"), &tensors).unwrap();
        fs::copy(from.join("config.json"), dir.join("config.json")).unwrap();
        let [packed, plain] = ["q8_0.gguf", ""].map(|file| probed(&case, &dir.join(file)));
        assert_eq!(packed, plain, "{}: {blocks} tensors in blocks", case.case);
        assert_eq!(blocks > 4, case.model == "dev", "the widths of `dev` are multiples of 32");
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
