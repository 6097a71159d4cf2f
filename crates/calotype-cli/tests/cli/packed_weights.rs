//! Weights in fewer bits, fp8 and GGUF's blocks, beside the same numbers in f32.

use std::fs;

use calotype::files::fp8::Fp8;
use calotype::files::{NamedTensor, safetensors};

use super::checkpoints::{golden, latents, ramp};
use super::support::{GgufFile, TempDir};
use super::weight_files::{as_in, single_file};
use super::{assert_says, fails, succeeds};

/// [`latents`] of a small picture by Stable Diffusion 1 in one file, which says nothing of sizes.
fn small_latents(dir: &TempDir, file: &str) -> Vec<f32> {
    latents(dir, file, &as_in(&golden("sd1")))
}

/// Numbers of fp8 make the same picture as these numbers in f32, with a factor beside them or without.
#[test]
fn numbers_of_eight_bits_are_read_with_their_factors() {
    let (dir, whole) = single_file("sd1");
    let values: Vec<f32> = (0..=255).map(|code| Fp8::E4m3.value(code)).collect();
    let nearest = |x: f32| {
        let distance = |code: &u8| (values[usize::from(*code)] - x).abs();
        let finite = (0..=255_u8).filter(|code| code & 0x7F != 0x7F);
        finite.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
    };
    let (mut header, mut data, mut plain) = (serde_json::Map::new(), Vec::new(), Vec::new());
    let mut put = |name: &str, dtype: &str, shape: &[usize], bytes: &[u8]| {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert(name.to_owned(), entry);
        data.extend_from_slice(bytes);
    };
    for tensor in &whole {
        let factor = if tensor.name.ends_with("proj_in.weight") { 0.5 } else { 1.0 };
        let codes: Vec<u8> = tensor.values.iter().map(|value| nearest(value / factor)).collect();
        put(&tensor.name, "F8_E4M3", &tensor.shape, &codes);
        if factor != 1.0 {
            let name = tensor.name.replace(".weight", ".scale_weight");
            put(&name, "F32", &[], &factor.to_le_bytes());
        }
        let values = codes.iter().map(|code| Fp8::E4m3.value(*code) * factor).collect();
        plain.push(NamedTensor { values, ..tensor.clone() });
    }
    put("scaled_fp8", "F8_E4M3", &[0], &[]);
    let header = serde_json::Value::from(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    dir.write("fp8.safetensors", file);
    safetensors::write(&dir.join("plain.safetensors"), &plain).unwrap();
    assert_eq!(small_latents(&dir, "fp8.safetensors"), small_latents(&dir, "plain.safetensors"));
}

/// As stable-diffusion.cpp converts them: the names of the single file.
#[test]
fn a_single_file_in_gguf_makes_the_same_picture() {
    let (dir, whole) = single_file("sd1");
    let put = |file: GgufFile, tensor: &NamedTensor| file.floats(&tensor.name, &tensor.shape, &tensor.values);
    dir.write("one.gguf", whole.iter().fold(GgufFile::new(), put).bytes());
    // Without the header that `convert` writes: GGUF has none.
    safetensors::write(&dir.join("plain.safetensors"), &whole).unwrap();
    assert_eq!(small_latents(&dir, "one.gguf"), small_latents(&dir, "plain.safetensors"));
}

#[test]
fn numbers_of_eight_bits_are_no_damage() {
    let (dir, _) = single_file("sd1");
    let bytes = fs::read(dir.join("one.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    // Four such numbers for each of 32 bits.
    let header = header.replace("\"dtype\":\"F32\",\"shape\":[", "\"dtype\":\"F8_E8M0\",\"shape\":[4,");
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    dir.write("fp8.safetensors", file);
    let message = fails(&dir, 1, &["generate", "a", "--model", "fp8.safetensors", "--out", "x.png"]);
    assert_says(&message, &["has dtype F8_E8M0 (fp8)", "hint: take the model in f32, f16 or bf16"]);
    assert!(!message.contains("truncated"), "{message}");
}

/// T5's encoder, the smallest network that GGUF files are written of.
fn t5(dir: &TempDir) {
    let tensor = |name: &str, shape: &[usize]| ramp(name, shape, 0.25);
    let block = "encoder.block.0.layer";
    let attention = format!("{block}.0.SelfAttention");
    let mut tensors = vec![
        tensor("shared.weight", &[48, 32]),
        tensor("encoder.final_layer_norm.weight", &[32]),
        tensor(&format!("{block}.0.layer_norm.weight"), &[32]),
        tensor(&format!("{block}.1.layer_norm.weight"), &[32]),
        tensor(&format!("{attention}.relative_attention_bias.weight"), &[32, 2]),
        tensor(&format!("{block}.1.DenseReluDense.wi_0.weight"), &[64, 32]),
        tensor(&format!("{block}.1.DenseReluDense.wi_1.weight"), &[64, 32]),
        tensor(&format!("{block}.1.DenseReluDense.wo.weight"), &[32, 64]),
    ];
    tensors.extend(["q", "k", "v", "o"].map(|name| tensor(&format!("{attention}.{name}.weight"), &[32, 32])));
    safetensors::write(&dir.join("t5.safetensors"), &tensors).unwrap();
}

#[test]
fn a_gguf_is_written_by_its_ending() {
    let dir = TempDir::new();
    t5(&dir);
    let json = succeeds(&dir, &["convert", "t5.safetensors", "t5.gguf", "--dtype", "q8_0", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["layout"], &json["dtype"]), (&"GGUF".into(), &"q8_0".into()));
    assert_eq!(json["output"], "t5.gguf");
    let output = succeeds(&dir, &["convert", "t5.gguf", "t5"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "t5: folder, f32\n");
    let ids = NamedTensor { name: "input_ids".into(), shape: vec![1, 3], values: vec![5.0, 40.0, 1.0] };
    safetensors::write(&dir.join("ids.safetensors"), &[ids]).unwrap();
    let outputs = ["t5.gguf", "t5", "t5.safetensors"].map(|model| {
        let args =
            ["probe", "--model", model, "--component", "text-encoder-2", "--inputs", "ids.safetensors"];
        succeeds(&dir, &[&args[..], &["--output", "out.safetensors"]].concat());
        safetensors::read(&dir.join("out.safetensors")).unwrap().remove("output").unwrap().values
    });
    assert_eq!(outputs[0], outputs[1]);
    let worst = outputs[0].iter().zip(&outputs[2]).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst > 0.0 && worst < 0.05, "{worst}");
    // What there is no such file of, and what is no dtype.
    let message = fails(&dir, 2, &["convert", "t5.safetensors", "b", "--dtype", "q4_k"]);
    assert_says(
        &message,
        &["dtype", "f32, f16, bf16: blocks are written into files that end in .gguf", "q4_k"],
    );
    let message = fails(&dir, 2, &["convert", "t5.safetensors", "b.gguf", "--dtype", "q3_k"]);
    assert_says(&message, &["f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0"]);
    let message = fails(&dir, 2, &["convert", &golden("sd1"), "b.gguf"]);
    assert_says(&message, &["Flux.1's transformer and T5's encoder are written"]);
    assert!(!dir.join("b").exists() && !dir.join("b.gguf").exists());
}
