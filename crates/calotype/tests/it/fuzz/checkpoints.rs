//! Names and shapes of the tensors of models and LoRAs.

use std::collections::BTreeMap;
use std::path::Path;

use calotype::checkpoint::lora::{self, LoraFile};
use calotype::checkpoint::single_file;
use calotype::files::{NamedTensor, safetensors};
use calotype::model::ComponentKind;
use serde_json::Value;

use super::{Shapes, fuzz, golden_json, text};

fn shape(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn single_files() {
    let golden = golden_json("single_file_keys.json");
    let file = |case: &Value| -> Shapes {
        let parts = case["parts"].as_object().unwrap().iter();
        let keys = parts.flat_map(|(folder, name)| {
            let keys = golden["parts"][name.as_str().unwrap()]["keys"].as_array().unwrap();
            keys.iter().map(move |key| (&case["prefixes"][folder], key))
        });
        keys.map(|(prefix, key)| {
            (prefix.as_str().unwrap().to_owned() + key[0].as_str().unwrap(), shape(&key[1]))
        })
        .collect()
    };
    let files = ["sd1", "sd2", "sdxl"].map(|case| file(&golden["cases"][case]));
    fuzz(&files, 1000, |shapes| {
        let Ok(recognised) = single_file::recognise(shapes) else { return false };
        for (key, shape) in shapes {
            for target in single_file::from_single_file(key, &recognised) {
                let _ = target.change.shape(shape);
            }
        }
        single_file::unexpected(shapes, &recognised).is_empty()
    });
}

/// Names and shapes of a golden LoRA file, and its metadata.
fn lora_file(model: &Value, file: &Value) -> (Shapes, BTreeMap<String, String>) {
    let mut tensors = Shapes::new();
    for group in file["groups"].as_array().unwrap() {
        let weights = &model["parts"][group["part"].as_str().unwrap()];
        for layer in group["layers"].as_array().unwrap() {
            let rank = layer[2].as_u64().unwrap() as usize;
            let weight = shape(&weights[layer[1].as_u64().unwrap() as usize][1]);
            let name = |role: &str| Some(format!("{}{}", layer[0].as_str()?, group[role].as_str()?));
            tensors.insert(name("down").unwrap(), [&[rank], &weight[1..]].concat());
            tensors
                .insert(name("up").unwrap(), [&[weight[0], rank], &vec![1; weight.len() - 2][..]].concat());
            tensors.extend(name("alpha").map(|name| (name, Vec::new())));
        }
    }
    (tensors, serde_json::from_value(file["metadata"].clone()).unwrap())
}

#[test]
fn lycoris() {
    let shapes = |all: &[(&str, &[usize])]| -> Shapes {
        all.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    };
    let [linear, conv]: [&[usize]; 2] = [&[6, 8], &[6, 8, 3, 3]];
    let own = shapes(&[
        ("a.weight", linear),
        ("a.bias", &[6]),
        ("b.weight", conv),
        ("c.weight", conv),
        ("d.weight", linear),
        ("e.weight", &[6]),
        ("e.bias", &[6]),
        ("f.weight", linear),
    ]);
    let file = shapes(&[
        ("unet.a.hada_w1_a", &[6, 2]),
        ("unet.a.hada_w1_b", &[2, 8]),
        ("unet.a.hada_w2_a", &[6, 2]),
        ("unet.a.hada_w2_b", &[2, 8]),
        ("unet.a.alpha", &[]),
        ("unet.a.dora_scale", &[1, 8]),
        ("unet.a.diff_b", &[6]),
        ("unet.b.lokr_w1", &[2, 2]),
        ("unet.b.lokr_w2_a", &[2, 3]),
        ("unet.b.lokr_w2_b", &[2, 4]),
        ("unet.b.lokr_t2", &[2, 2, 3, 3]),
        ("unet.b.scalar", &[1]),
        ("unet.c.lora_down.weight", &[2, 8, 1, 1]),
        ("unet.c.lora_mid.weight", &[2, 2, 3, 3]),
        ("unet.c.lora_up.weight", &[6, 2, 1, 1]),
        ("unet.c.lora_magnitude_vector", &[6]),
        ("unet.d.weight", &[8]),
        ("unet.d.on_input", &[1]),
        ("unet.e.w_norm", &[6]),
        ("unet.e.b_norm", &[6]),
        ("unet.f.lokr_w1_a", &[2, 2]),
        ("unet.f.lokr_w1_b", &[2, 2]),
        ("unet.f.lokr_w2", &[3, 4]),
    ]);
    let (path, metadata) = (Path::new("style.safetensors"), BTreeMap::new());
    let fits = |tensors: &Shapes, unet: &Shapes| {
        let own = BTreeMap::from([(ComponentKind::Unet, unet.clone())]);
        lora::assign(LoraFile { path, tensors, metadata: &metadata }, &own).is_ok()
    };
    fuzz(std::slice::from_ref(&file), 5000, |tensors| fits(tensors, &own));
    fuzz(std::slice::from_ref(&own), 2000, |unet| fits(&file, unet));
}

#[test]
fn loras() {
    let golden = golden_json("lora_names.json");
    let model = &golden["models"][0];
    let part = |folder: &str| -> Shapes {
        let weights = model["parts"][folder].as_array().unwrap().iter();
        weights.map(|weight| (weight[0].as_str().unwrap().to_owned(), shape(&weight[1]))).collect()
    };
    let own = BTreeMap::from([
        (ComponentKind::Unet, part("unet")),
        (ComponentKind::TextEncoder, part("text_encoder")),
    ]);
    let path = Path::new("style.safetensors");
    for file in model["files"].as_array().unwrap() {
        let (tensors, metadata) = lora_file(model, file);
        fuzz(&[tensors], 200, |tensors| {
            lora::assign(LoraFile { path, tensors, metadata: &metadata }, &own).is_ok()
        });
    }
    let peft =
        model["files"].as_array().unwrap().iter().find(|file| file["name"] == "diffusers peft").unwrap();
    let (tensors, metadata) = lora_file(model, peft);
    let (key, config) = metadata.iter().next().unwrap();
    fuzz(&[config.as_bytes().to_vec()], 500, |config| {
        let metadata = BTreeMap::from([(key.clone(), text(config))]);
        lora::assign(LoraFile { path, tensors: &tensors, metadata: &metadata }, &own).is_ok()
    });
    // The model may be somebody's, too.
    fuzz(&[own[&ComponentKind::Unet].clone()], 2000, |unet| {
        let own = BTreeMap::from([(ComponentKind::Unet, unet.clone())]);
        lora::assign(LoraFile { path, tensors: &tensors, metadata: &metadata }, &own).is_ok()
    });
}

#[test]
fn loras_of_flux() {
    let golden = golden_json("flux_lora.json");
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flux.safetensors");
    let weights = safetensors::read(&network).unwrap();
    let own = |(name, tensor): (&String, &NamedTensor)| {
        Some((name.strip_prefix("param.")?.to_owned(), tensor.shape.clone()))
    };
    let own: Shapes = weights.iter().filter_map(own).collect();
    let path = Path::new("style.safetensors");
    let fits = |tensors: &Shapes, metadata: &BTreeMap<String, String>, own: &Shapes| {
        let own = BTreeMap::from([(ComponentKind::Transformer, own.clone())]);
        lora::assign(LoraFile { path, tensors, metadata }, &own).is_ok()
    };
    for case in golden["cases"].as_array().unwrap() {
        let tensors: Shapes = serde_json::from_value(case["tensors"].clone()).unwrap();
        let metadata = serde_json::from_value(case["metadata"].clone()).unwrap();
        fuzz(std::slice::from_ref(&tensors), 200, |tensors| fits(tensors, &metadata, &own));
        fuzz(std::slice::from_ref(&own), 200, |own| fits(&tensors, &metadata, own));
    }
}
