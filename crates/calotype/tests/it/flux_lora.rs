//! LoRAs of Flux in every dialect, merged into a small transformer, against what it computes with weights that were
//! changed by formula; for most dialects that is what diffusers computes with the file (`tools/oracle/flux_lora.py`).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use calotype::checkpoint::Checkpoint;
use calotype::checkpoint::probe::Probe;
use calotype::files::{NamedTensor, atomic, safetensors};
use serde::Deserialize;

use crate::support::TempDir;

/// Of the largest number of the output; weights and activations are f32.
const TOLERANCE: f32 = 2e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    weight: f64,
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, Vec<usize>>,
    output: Vec<f32>,
}

/// A tensor of the golden LoRAs, by its name.
fn by_formula(name: &str, shape: &[usize]) -> NamedTensor {
    let start: usize = name.bytes().map(usize::from).sum();
    let number = |i: usize| ((i * 7 + start) % 23) as f32 / 32.0 - 11.0 / 32.0;
    let values = if shape.is_empty() { vec![1.5] } else { (0..shape.iter().product()).map(number).collect() };
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
}

/// Writes the folder of the golden transformer, and what it is told; returns their paths.
fn transformer(dir: &TempDir) -> (PathBuf, PathBuf) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flux.safetensors");
    let all = safetensors::read(&path).unwrap();
    let of = |start: &str| -> Vec<NamedTensor> {
        let own = |(name, tensor): (&String, &NamedTensor)| {
            Some(NamedTensor { name: name.strip_prefix(start)?.to_owned(), ..tensor.clone() })
        };
        all.iter().filter_map(own).collect()
    };
    let (folder, inputs) = (dir.join("transformer"), dir.join("inputs.safetensors"));
    fs::create_dir(&folder).unwrap();
    let config = &safetensors::read_metadata(&path).unwrap()["config"];
    fs::write(folder.join("config.json"), config).unwrap();
    safetensors::write(&folder.join("diffusion_pytorch_model.safetensors"), &of("param.")).unwrap();
    let told: Vec<_> = of("input.").into_iter().filter(|tensor| tensor.name != "velocity").collect();
    safetensors::write(&inputs, &told).unwrap();
    (folder, inputs)
}

fn output(model: &Path, inputs: &Path) -> Vec<f32> {
    let output = model.with_extension("output");
    Probe::Transformer.run(model, inputs, &output, &Device::flex()).unwrap();
    safetensors::read(&output).unwrap().remove("output").unwrap().values
}

/// The largest difference, as a part of the largest number.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    got.iter().zip(expected).fold(0.0_f32, |largest, (x, y)| largest.max((x - y).abs())) / largest
}

#[test]
fn every_dialect_changes_the_network_as_its_formula_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flux_lora.json");
    let Golden { cases } = atomic::read_json(&golden).unwrap();
    let dir = TempDir::new();
    let (model, inputs) = transformer(&dir);
    let before = output(&model, &inputs);
    assert!(cases.len() >= 16);
    for (n, Case { name, weight, metadata, tensors, output: expected }) in cases.into_iter().enumerate() {
        let file = dir.join("lora.safetensors");
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| by_formula(name, shape)).collect();
        let borrowed = tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), t.values.as_slice()));
        safetensors::write_borrowed(&file, borrowed, metadata).unwrap();
        let mut checkpoint = Checkpoint::open(&model).unwrap();
        let merged = checkpoint.merge_lora(&file, weight).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((merged.unmatched, merged.words.len()), (vec![], 0), "{name}");
        let changed = dir.join(format!("{n}"));
        checkpoint.write(&changed).unwrap();
        let got = output(&changed, &inputs);
        let error = difference(&got, &expected);
        println!("{name}: {error:.1e}");
        assert!(error < TOLERANCE, "{name}: {error:e} of at most {TOLERANCE:e}");
        assert!(difference(&before, &expected) > 0.05, "{name}");
    }
}
