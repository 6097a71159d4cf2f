//! Flux's transformer and T5's encoder from one layout to another: what stays, what is rounded, what is refused.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use calotype::checkpoint::{Checkpoint, Layout};
use calotype::denoiser::flux::{Flux, FluxConfig};
use calotype::files::fp8::Fp8;
use calotype::files::gguf::{self, BlockKind, TensorType};
use calotype::files::{Encoding, NamedTensor, Packing, Storage, StoredTensor, atomic, safetensors, weights};
use calotype::model::ComponentKind;
use calotype::nn::{Init, parameters};
use calotype::text_encoder::{T5Config, T5Encoder};

use crate::support::TempDir;

/// One head of 128, a double and a single block. Its matrices have rows of 8, 128, 256, 512 and 640 numbers.
fn flux() -> FluxConfig {
    FluxConfig {
        in_channels: 8,
        out_channels: Some(4),
        num_layers: 1,
        num_single_layers: 1,
        num_attention_heads: 1,
        joint_attention_dim: 64,
        pooled_projection_dim: 32,
        guidance_embeds: true,
        ..FluxConfig::default()
    }
}

fn write_flux(folder: &Path, config: &FluxConfig) {
    let network = Flux::new(config, &mut Init::random(5, &Device::flex())).unwrap();
    let tensors = parameters::named_parameters(&network);
    safetensors::write(&folder.join("diffusion_pytorch_model.safetensors"), &tensors).unwrap();
    atomic::write_json(&folder.join("config.json"), config).unwrap();
}

fn write_t5(folder: &Path) -> T5Config {
    let config = T5Config {
        vocab_size: 96,
        d_model: 64,
        d_kv: 32,
        d_ff: 256,
        num_layers: 2,
        num_heads: 4,
        layer_norm_epsilon: 1e-5,
        ..T5Config::default()
    };
    let network = T5Encoder::new(&config, &mut Init::random(6, &Device::flex())).unwrap();
    let mut tensors = parameters::named_parameters(&network);
    let table = tensors.iter().find(|tensor| tensor.name == "shared.weight").unwrap().clone();
    tensors.push(NamedTensor { name: "encoder.embed_tokens.weight".into(), ..table });
    safetensors::write(&folder.join("model.safetensors"), &tensors).unwrap();
    atomic::write_json(&folder.join("config.json"), &config).unwrap();
    config
}

fn convert(from: &Path, to: &Path, dtype: Option<TensorType>) {
    Checkpoint::open_part(from).unwrap().write_as(to, dtype).unwrap();
}

/// Weights of the one network, and its config.
fn network(path: &Path) -> (BTreeMap<String, Vec<f32>>, serde_json::Value) {
    let mut checkpoint = Checkpoint::open_part(path).unwrap();
    let kind = *checkpoint.components.keys().next().unwrap();
    let mut stored = checkpoint.take(kind).unwrap();
    stored.config.as_object_mut().unwrap().remove("torch_dtype");
    (stored.weights.into_iter().map(|(name, tensor)| (name, tensor.to_f32())).collect(), stored.config)
}

fn encodings(path: &Path) -> HashMap<String, Encoding> {
    let tensors = gguf::open(path).unwrap().into_iter();
    tensors.map(|(name, tensor)| (name, tensor.encoding())).collect()
}

/// Largest difference, and largest number.
fn difference(a: &[f32], b: &[f32]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
    (worst, b.iter().fold(0.0, |largest, x| largest.max(x.abs())))
}

#[test]
fn flux_in_every_type_of_gguf() {
    let dir = TempDir::new();
    let folder = dir.join("flux");
    write_flux(&folder, &flux());
    let (original, config) = network(&folder);
    let single = dir.join("flux.safetensors");
    convert(&folder, &single, None);
    for dtype in TensorType::WRITTEN {
        let file = dir.join(format!("{dtype}.gguf"));
        convert(&folder, &file, Some(dtype));
        // The file of the original code is the same model.
        let again = dir.join("again.gguf");
        convert(&single, &again, Some(dtype));
        assert!(fs::read(&again).unwrap() == fs::read(&file).unwrap(), "{dtype}");
        fs::remove_file(&again).unwrap();
        // As it is, once more.
        convert(&file, &again, None);
        let read = |path: &Path| -> BTreeMap<String, Vec<u8>> {
            let tensors = gguf::open(path).unwrap().into_iter();
            tensors.map(|(name, tensor)| (name, tensor.stored().to_vec())).collect()
        };
        assert!(read(&again) == read(&file) && encodings(&again) == encodings(&file), "{dtype}");
        fs::remove_file(&again).unwrap();
        let (weights, of_file) = network(&file);
        assert_eq!(of_file, config);
        let error = match dtype {
            TensorType::Plain(Storage::F32) => 0.0,
            TensorType::Plain(Storage::F16) => 1e-3,
            TensorType::Plain(Storage::Bf16) => 5e-3,
            TensorType::Blocks(BlockKind::Q8_0) => 0.01,
            TensorType::Blocks(BlockKind::Q6K) => 0.04,
            TensorType::Blocks(BlockKind::Q5K) => 0.06,
            TensorType::Blocks(_) => 0.13,
        };
        assert_eq!(weights.len(), original.len());
        for (name, values) in &weights {
            let (worst, largest) = difference(values, &original[name]);
            assert!(worst <= error * largest, "{dtype}, {name}: {worst} of {largest}");
        }
    }
}

#[test]
fn what_stays_unquantised_in_gguf() {
    let dir = TempDir::new();
    let (folder, file) = (dir.join("flux"), dir.join("flux.gguf"));
    write_flux(&folder, &flux());
    let half = dir.join("half.safetensors");
    convert(&folder, &half, Some(TensorType::Plain(Storage::Bf16)));
    for (from, unquantised) in [(&folder, Storage::F16), (&half, Storage::Bf16)] {
        convert(from, &file, Some(TensorType::Blocks(BlockKind::Q4K)));
        let found = encodings(&file);
        let plain = Encoding::Plain;
        let q4 = Encoding::Packed(Packing::Blocks(BlockKind::Q4K));
        for (name, expected) in [
            // A vector, and a matrix of 1024 numbers.
            ("double_blocks.0.img_attn.qkv.bias", plain(Storage::F32)),
            ("single_blocks.0.norm.key_norm.scale", plain(Storage::F32)),
            ("img_in.weight", plain(Storage::F32)),
            // Outside of the blocks.
            ("txt_in.weight", plain(unquantised)),
            ("time_in.in_layer.weight", plain(unquantised)),
            ("final_layer.adaLN_modulation.1.weight", plain(unquantised)),
            // Rows of 128 and of 640.
            ("double_blocks.0.img_attn.qkv.weight", plain(unquantised)),
            ("single_blocks.0.linear2.weight", plain(unquantised)),
            ("double_blocks.0.img_mlp.2.weight", q4),
        ] {
            assert_eq!(found[name], expected, "{name}");
        }
        fs::remove_file(&file).unwrap();
    }
    let metadata = {
        convert(&half, &file, Some(TensorType::Blocks(BlockKind::Q8_0)));
        gguf::read_metadata(&file).unwrap()
    };
    assert_eq!(metadata["general.architecture"], "flux");
    assert_eq!(
        (&metadata["general.quantization_version"][..], &metadata["general.file_type"][..]),
        ("2", "7")
    );
    let packed = Encoding::Packed(Packing::Blocks(BlockKind::Q8_0));
    assert_eq!(encodings(&file)["double_blocks.0.img_attn.qkv.weight"], packed);
}

/// What three tensors are here is one there, quantised as one.
#[test]
fn rows_of_several_tensors_are_quantised_as_one() {
    let dir = TempDir::new();
    let (folder, file) = (dir.join("flux"), dir.join("flux.gguf"));
    write_flux(&folder, &flux());
    convert(&folder, &file, Some(TensorType::Blocks(BlockKind::Q8_0)));
    let single = dir.join("flux.safetensors");
    convert(&folder, &single, None);
    let (packed, exact) = (gguf::open(&file).unwrap(), weights::open(&single).unwrap());
    let name = "single_blocks.0.linear1.weight";
    assert_eq!(packed[name].shape(), [7 * 128, 128]);
    let mut expected = vec![0; packed[name].stored().len()];
    BlockKind::Q8_0.quantiser().unwrap()(&exact[name].to_f32(), &mut expected);
    assert!(packed[name].stored() == expected);
    // The halves of the last modulation stand the other way round, there and back.
    let swapped = "final_layer.adaLN_modulation.1.bias";
    assert_eq!(packed[swapped].to_f32(), exact[swapped].to_f32());
    assert_eq!(network(&file).0["norm_out.linear.bias"], network(&folder).0["norm_out.linear.bias"]);
}

#[test]
fn t5_in_gguf_and_back() {
    let dir = TempDir::new();
    let folder = dir.join("t5");
    let config = write_t5(&folder);
    let (original, of_folder) = network(&folder);
    assert!(!original.contains_key("encoder.embed_tokens.weight"));
    let file = dir.join("t5.gguf");
    convert(&folder, &file, Some(TensorType::Plain(Storage::F32)));
    let metadata = gguf::read_metadata(&file).unwrap();
    for (key, value) in [
        ("general.architecture", "t5encoder"),
        ("t5encoder.embedding_length", "64"),
        ("t5encoder.attention.key_length", "32"),
        ("t5encoder.block_count", "2"),
        ("t5encoder.attention.layer_norm_epsilon", "0.00001"),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
    let tensors = gguf::open(&file).unwrap();
    assert_eq!(tensors.len(), original.len());
    assert_eq!(tensors["token_embd.weight"].shape(), [96, 64]);
    let distances = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    assert_eq!(tensors["enc.blk.0.attn_rel_b.weight"].to_f32(), original[distances]);
    for back in ["back", "back.safetensors"].map(|name| dir.join(name)) {
        convert(&file, &back, None);
        assert_eq!(network(&back), (original.clone(), of_folder.clone()));
    }
    let small = dir.join("small.gguf");
    convert(&folder, &small, Some(TensorType::Blocks(BlockKind::Q4_0)));
    let found = encodings(&small);
    let q4 = Encoding::Packed(Packing::Blocks(BlockKind::Q4_0));
    assert_eq!((found["token_embd.weight"], found["enc.blk.1.ffn_down.weight"]), (q4, q4));
    assert_eq!(found["enc.output_norm.weight"], Encoding::Plain(Storage::F32));
    assert_eq!(found["enc.blk.0.attn_rel_b.weight"], Encoding::Plain(Storage::F32));
    // An epsilon that no shape tells.
    let (_, of_file) = network(&small);
    assert_eq!(
        serde_json::from_value::<T5Config>(of_file).unwrap().layer_norm_epsilon,
        config.layer_norm_epsilon
    );
}

/// A safetensors file of (name, dtype, shape, bytes).
fn file(tensors: &[(String, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// ComfyUI's whole checkpoints: everything in fp8 under a prefix, in older ones with a factor beside each matrix and a
/// marker, in newer ones with other names of these, and nothing but casts in plain ones.
#[test]
fn fp8_of_whole_checkpoints_is_read_with_its_factors() {
    let dir = TempDir::new();
    let folder = dir.join("flux");
    write_flux(&folder, &flux());
    let single = dir.join("flux.safetensors");
    convert(&folder, &single, None);
    let names: BTreeMap<String, StoredTensor> = weights::open(&single).unwrap().into_iter().collect();
    let prefix = "model.diffusion_model.";
    for (factor_of, marker) in
        [(None, None), (Some("scale_weight"), Some("scaled_fp8")), (Some("weight_scale"), None)]
    {
        let mut tensors = Vec::new();
        let mut expected: HashMap<String, NamedTensor> = HashMap::new();
        for (i, (name, tensor)) in names.iter().enumerate() {
            let numbers: usize = tensor.shape().iter().product();
            // Codes of finite numbers.
            let codes: Vec<u8> =
                (0..numbers).map(|n| ((n * 7 + i * 13) % 0x7F) as u8 | ((n % 2) << 7) as u8).collect();
            let layer = name.strip_suffix(".weight").filter(|_| tensor.shape().len() == 2);
            let factor =
                if factor_of.is_some() && layer.is_some() { 2_f32.powi(-4 - (i % 3) as i32) } else { 1.0 };
            let values = codes.iter().map(|code| Fp8::E4m3.value(*code) * factor).collect();
            expected.insert(
                name.clone(),
                NamedTensor { name: name.clone(), shape: tensor.shape().to_vec(), values },
            );
            if let (Some(factor_of), Some(layer)) = (factor_of, layer) {
                let bytes = factor.to_le_bytes().to_vec();
                tensors.push((format!("{prefix}{layer}.{factor_of}"), "F32", vec![], bytes.clone()));
                let of_input = if marker.is_some() { "scale_input" } else { "input_scale" };
                tensors.push((format!("{prefix}{layer}.{of_input}"), "F32", vec![], bytes));
            }
            tensors.push((format!("{prefix}{name}"), "F8_E4M3", tensor.shape().to_vec(), codes));
        }
        tensors.extend(marker.map(|marker| (format!("{prefix}{marker}"), "F8_E4M3", vec![0], vec![])));
        dir.write("fp8.safetensors", file(&tensors));
        let whole = dir.join("whole.safetensors");
        convert(&dir.join("fp8.safetensors"), &whole, None);
        assert!(safetensors::read(&whole).unwrap() == expected, "{factor_of:?}");
        // f16 has room for these codes and factors; vectors become f32.
        let gguf = dir.join("fp8.gguf");
        convert(&dir.join("fp8.safetensors"), &gguf, None);
        let matrix = "double_blocks.0.img_attn.qkv.weight";
        assert_eq!(encodings(&gguf)[matrix], Encoding::Plain(Storage::F16));
        for (name, tensor) in gguf::open(&gguf).unwrap() {
            assert!(tensor.to_f32() == expected[&name].values, "{name}");
        }
        fs::remove_file(&gguf).unwrap();
        fs::remove_file(&whole).unwrap();
        fs::remove_file(dir.join("fp8.safetensors")).unwrap();
    }
}

#[test]
fn what_a_layout_does_not_have_is_refused() {
    let dir = TempDir::new();
    let folder = dir.join("flux");
    write_flux(&folder, &flux());
    let flux = Checkpoint::open_part(&folder).unwrap();
    let refused = |checkpoint: &Checkpoint, to: &str, dtype: Option<TensorType>, said: &str| {
        let to = dir.join(to);
        let message = checkpoint.write_as(&to, dtype).unwrap_err().to_string();
        assert!(message.contains(said), "`{said}`: {message}");
        // Of a folder, nothing but the folder.
        assert!(!to.is_file() && fs::read_dir(&to).map_or(0, Iterator::count) == 0, "{to:?}");
    };
    let blocks = Some(TensorType::Blocks(BlockKind::Q4K));
    refused(
        &flux,
        "out",
        blocks,
        "dtype: expected f32, f16, bf16: blocks are written into files that end in .gguf",
    );
    refused(&flux, "out.safetensors", blocks, "got q4_k");
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stable_diffusion/sd1");
    let unet = Checkpoint::open_part(&model).unwrap();
    refused(&unet, "out.gguf", None, "OUT: expected a folder or a .safetensors file");
    let mut large = flux.clone();
    let weights = &mut large.components.get_mut(&ComponentKind::Transformer).unwrap().weights;
    let name = "transformer_blocks.0.ff.net.2.weight";
    let shape = weights[name].shape().to_vec();
    let numbers = shape.iter().product();
    weights.insert(name.into(), StoredTensor::from_f32(shape, vec![1e6; numbers]).unwrap());
    for to in ["out.gguf", "out.safetensors", "out"] {
        refused(&large, to, Some(TensorType::Plain(Storage::F16)), "numbers of at most 65504, as f16 holds");
    }
    refused(
        &large,
        "out.gguf",
        blocks,
        "`double_blocks.0.img_mlp.2.weight`: expected numbers of at most 65504",
    );
    // Rows of one tensor in two types.
    let mut mixed = flux.clone();
    let weights = &mut mixed.components.get_mut(&ComponentKind::Transformer).unwrap().weights;
    let name = "transformer_blocks.0.attn.to_k.weight";
    let half = weights[name].clone().stored_as(Storage::F16);
    weights.insert(name.into(), half);
    for to in ["out.gguf", "out.safetensors"] {
        refused(
            &mixed,
            to,
            None,
            "`double_blocks.0.img_attn.qkv.weight`: expected rows of one dtype (--dtype",
        );
    }
    let written =
        mixed.write_as(&dir.join("same.safetensors"), Some(TensorType::Plain(Storage::F32))).unwrap();
    assert_eq!((written.layout, written.dtype), (Layout::SingleFile, TensorType::Plain(Storage::F32)));
}

/// Ten kinds of blocks, as they are.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn blocks_that_are_only_read_are_copied() {
    let data = PathBuf::from(std::env::var_os("CALOTYPE_TEST_DATA").expect("see CONTRIBUTING.md"));
    let (own, dir) = (data.join("golden-flux/files/flux-mixed.gguf"), TempDir::new());
    let copy = dir.join("copy.gguf");
    convert(&own, &copy, None);
    let (own, copy) = (gguf::open(&own).unwrap(), gguf::open(&copy).unwrap());
    assert_eq!(own.len(), copy.len());
    let mut kinds = 0;
    for (name, tensor) in &own {
        let small = tensor.shape().len() < 2 || tensor.to_f32().len() <= 1024;
        assert_eq!(copy[name].shape(), tensor.shape());
        assert!(copy[name].to_f32() == tensor.to_f32(), "{name}");
        if !small {
            assert_eq!(copy[name].encoding(), tensor.encoding(), "{name}");
            assert!(copy[name].stored() == tensor.stored(), "{name}");
            kinds += usize::from(matches!(tensor.encoding(), Encoding::Packed(_)));
        }
    }
    assert!(kinds > 5, "{kinds}");
}
