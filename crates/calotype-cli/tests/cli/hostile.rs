//! Files of strangers: a clear error at once, nothing executed, nothing written, no memory taken.

use std::fs;
use std::path::Path;

use calotype::files::{NamedTensor, safetensors};

use super::checkpoints::golden;
use super::support::{GgufFile, TempDir};
use super::{assert_says, failed, fails, replace, run_within};

const WEIGHTS: &str = "model/unet/diffusion_pytorch_model.safetensors";

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A folder with a copy of a small model.
pub fn with_copy(model: &str) -> TempDir {
    let dir = TempDir::new();
    copy_folder(Path::new(&golden(model)), &dir.join("model"));
    dir
}

/// The message of `generate`, which must fail within two seconds of the processor's time and a gigabyte of address
/// space (where the system limits that), and write nothing.
fn refused(dir: &TempDir, more: &[&str]) -> String {
    let args = ["generate", "a cat", "--model", "model", "--steps", "1", "--out", "x.png"];
    let args = [&args, more].concat();
    let output = run_within(dir, "ulimit -t 2; ulimit -v 1000000 2>/dev/null", &args);
    let message = failed(output, 1, &args);
    assert!(!dir.join("x.png").exists());
    message
}

/// The message of any command, within the same limits.
fn fails_at_once(dir: &TempDir, args: &[&str]) -> String {
    failed(run_within(dir, "ulimit -t 2; ulimit -v 1000000 2>/dev/null", args), 1, args)
}

fn header(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn safetensors_that_lie() {
    let dir = with_copy("sd1");
    let whole = fs::read(dir.join(WEIGHTS)).unwrap();
    let huge = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#;
    let outside = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16000000000]}}"#;
    let backwards = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#;
    let overlapping = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#;
    let short = r#"{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,16]}}"#;
    for (what, bytes) in [
        ("empty", vec![]),
        ("four bytes", whole[..4].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("one byte too few", whole[..whole.len() - 1].to_vec()),
        ("a header of 2^63 bytes", [&[0xFF; 8][..], &whole[8..]].concat()),
        ("a header that is longer than the file", [&(1u64 << 40).to_le_bytes()[..], &whole[8..]].concat()),
        ("no JSON", header("{\"a\":", 16)),
        ("a shape that overflows", header(huge, 16)),
        ("an offset outside", header(outside, 16)),
        ("offsets backwards", header(backwards, 16)),
        ("tensors over each other", header(overlapping, 24)),
        ("fewer numbers than the shape", header(short, 16)),
    ] {
        fs::write(dir.join(WEIGHTS), bytes).unwrap();
        let message = refused(&dir, &[]);
        assert!(message.contains(WEIGHTS) && message.contains("safetensors"), "{what}: {message}");
    }
}

#[test]
fn gguf_that_lies() {
    let dir = TempDir::new();
    let file = || GgufFile::new().text("general.architecture", "t5encoder");
    let whole = file().floats("enc.blk.0.attn_q.weight", &[2, 4], &[0.5; 8]).bytes();
    let with = |at: usize, number: u64| {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let list = [&8_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    // After the metadata: the length of a name, the name, and how many dimensions there are.
    let entry = 24 + 8 + 20 + 4 + 8 + 9;
    let sizes = entry + 8 + 23 + 4;
    for (what, bytes, said) in [
        ("cut off", whole[..whole.len() - 8].to_vec(), "the file has"),
        ("only its beginning", whole[..20].to_vec(), "middle of"),
        ("too many tensors", with(8, u64::MAX), "middle of"),
        ("too many values", with(16, u64::MAX), "middle of"),
        ("a key of 2^60 bytes", with(24, 1 << 60), "middle of a key"),
        ("a name of 2^40 bytes", with(entry, 1 << 40), "middle of the name"),
        ("a dimension of 2^62", with(sizes, 1 << 62), "larger than memory"),
        ("a dimension of 2^34", with(sizes, 1 << 34), "the file has"),
        ("a list without end", file().value("tokens", 9, &list).bytes(), "middle of tokens"),
        ("a type that is none", with(sizes + 16, 77), "type 77"),
        ("an offset outside", with(sizes + 20, 1 << 50), "the file has"),
    ] {
        dir.write("t5.gguf", bytes);
        let args =
            ["probe", "--model", "t5.gguf", "--component", "text-encoder-2", "--inputs", "in.safetensors"];
        let ids = NamedTensor { name: "input_ids".into(), shape: vec![1, 1], values: vec![1.0] };
        safetensors::write(&dir.join("in.safetensors"), &[ids]).unwrap();
        let args = [&args[..], &["--output", "out.safetensors"]].concat();
        for args in
            [&args[..], &["convert", "t5.gguf", "out.safetensors"], &["convert", "t5.gguf", "out.gguf"]]
        {
            let message = fails_at_once(&dir, args);
            assert!(message.contains("t5.gguf") && message.contains(said), "{what}: {message}");
            assert!(!dir.join("out.safetensors").exists() && !dir.join("out.gguf").exists());
        }
    }
}

/// What Flux's relatives and a T5 that is not whole are converted to: nothing.
#[test]
fn networks_that_are_another_or_not_whole() {
    let dir = TempDir::new();
    let mark = "double_blocks.0.img_attn.norm.key_norm.scale";
    for (tensor, family) in [
        ("single_stream_modulation.lin.weight", "Flux 2"),
        ("double_stream_modulation_img.lin.weight", "Flux 2"),
        ("distilled_guidance_layer.in_proj.bias", "Chroma"),
    ] {
        for prefix in ["", "model.diffusion_model."] {
            let file = GgufFile::new().text("general.architecture", "flux");
            let file = file.floats(&format!("{prefix}{mark}"), &[128], &[1.0; 128]);
            dir.write("other.gguf", file.floats(&format!("{prefix}{tensor}"), &[2], &[1.0; 2]).bytes());
            let message = fails_at_once(&dir, &["convert", "other.gguf", "out.gguf", "--dtype", "q4_0"]);
            assert_says(&message, &["other.gguf", &format!("this is {family}; expected")]);
        }
    }
    dir.write("flux.gguf", GgufFile::new().floats(mark, &[128], &[1.0; 128]).bytes());
    assert_says(
        &fails_at_once(&dir, &["convert", "flux.gguf", "out.gguf"]),
        &["tensor `img_in.weight`: expected a tensor of Flux.1, got no such tensor"],
    );
    // T5 in shards, as it is published.
    let shard = "model-00001-of-00002.safetensors";
    let table = NamedTensor { name: "shared.weight".into(), shape: vec![4, 4], values: vec![0.5; 16] };
    safetensors::write(&dir.join("t5").join(shard), &[table]).unwrap();
    dir.write("t5/config.json", r#"{"model_type": "t5", "d_model": 4}"#);
    let index = format!(
        r#"{{"weight_map": {{"shared.weight": "{shard}",
        "encoder.final_layer_norm.weight": "model-00002-of-00002.safetensors"}}}}"#
    );
    dir.write("t5/model.safetensors.index.json", index);
    let ids = NamedTensor { name: "input_ids".into(), shape: vec![1, 1], values: vec![1.0] };
    safetensors::write(&dir.join("in"), &[ids]).unwrap();
    for args in [
        &["convert", "t5", "out.gguf"][..],
        &["probe", "--model", "t5", "--component", "text-encoder-2", "--inputs", "in", "--output", "out"],
    ] {
        let message = fails_at_once(&dir, args);
        assert_says(&message, &["model-00002-of-00002.safetensors"]);
    }
    assert!(!dir.join("out.gguf").exists());
}

#[test]
fn numbers_that_are_none() {
    let dir = with_copy("sd1");
    let mut tensors: Vec<NamedTensor> =
        safetensors::read(&dir.join(WEIGHTS)).unwrap().into_values().collect();
    tensors.iter_mut().find(|t| t.name == "mid_block.resnets.0.conv1.weight").unwrap().values[70] = f32::NAN;
    safetensors::write(&dir.join(WEIGHTS), &tensors).unwrap();
    assert_says(&refused(&dir, &[]), &["mid_block.resnets.0.conv1.weight", "finite numbers", "NaN"]);
}

#[test]
fn shards_elsewhere_or_missing() {
    let dir = with_copy("sd1");
    let whole = fs::read(dir.join(WEIGHTS)).unwrap();
    fs::remove_file(dir.join(WEIGHTS)).unwrap();
    dir.write("secret.safetensors", &whole);
    let index = dir.join("model/unet/diffusion_pytorch_model.safetensors.index.json");
    for (shard, said) in [
        ("../../secret.safetensors", "not the name of a file beside it"),
        ("/etc/passwd", "not the name of a file beside it"),
        ("..", "not the name of a file beside it"),
        ("", "not the name of a file beside it"),
        ("missing-00001-of-00002.safetensors", "missing-00001-of-00002.safetensors"),
    ] {
        fs::write(&index, format!(r#"{{"weight_map":{{"conv_in.weight":"{shard}"}}}}"#)).unwrap();
        assert_says(&refused(&dir, &[]), &[said]);
    }
    let beside = dir.join("model/unet/a.safetensors");
    fs::write(&beside, &whole).unwrap();
    fs::write(&index, r#"{"weight_map":{"conv_in.weight":"a.safetensors"}}"#).unwrap();
    assert_says(&refused(&dir, &[]), &["where the index does not have it"]);
    fs::write(&index, r#"{"weight_map":[1,2]}"#).unwrap();
    assert_says(&refused(&dir, &[]), &["index.json"]);
}

#[test]
fn a_pickle_that_calls_something() {
    let dir = with_copy("sd1");
    fs::remove_file(dir.join(WEIGHTS)).unwrap();
    let target = dir.join("touched");
    let call = format!("touch {}", target.display());
    // {"conv_in.weight": os.system("touch …")}, protocol 2.
    let mut pickle = b"\x80\x02}q\x00X\x0e\x00\x00\x00conv_in.weightq\x01cposix\nsystem\nq\x02X".to_vec();
    pickle.extend((call.len() as u32).to_le_bytes());
    pickle.extend(call.bytes());
    pickle.extend(b"q\x03\x85q\x04Rq\x05s.");
    dir.write("model/unet/diffusion_pytorch_model.bin", pickle);
    assert_says(&refused(&dir, &[]), &["posix.system", "nothing was called"]);
    assert!(!target.exists());
    for garbage in
        [&b"\x80\x02"[..], b"PK\x03\x04not a zip", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff."]
    {
        dir.write("model/unet/diffusion_pytorch_model.bin", garbage);
        assert_says(&refused(&dir, &[]), &["PyTorch weights"]);
    }
}

#[test]
fn configs_of_no_network() {
    for (file, from, to, said) in [
        (
            "unet/config.json",
            "\"cross_attention_dim\": 32",
            "\"cross_attention_dim\": 900000000000",
            "cross_attention_dim",
        ),
        (
            "unet/config.json",
            "\"layers_per_block\": 2",
            "\"layers_per_block\": 4000000000",
            "layers_per_block",
        ),
        ("unet/config.json", "\"in_channels\": 4", "\"in_channels\": 18446744073709551615", "in_channels"),
        ("unet/config.json", "\"UNet2DConditionModel\"", "\"UNet3DConditionModel\"", "UNet3DConditionModel"),
        (
            "unet/config.json",
            "\"transformer_layers_per_block\": 1",
            "\"transformer_layers_per_block\": 1000",
            "transformer_layers_per_block",
        ),
        ("vae/config.json", "\"AutoencoderKL\"", "\"AutoencoderKLWan\"", "AutoencoderKLWan"),
        ("vae/config.json", "\"latent_channels\": 4", "\"latent_channels\": 400000000000", "latent_channels"),
        (
            "text_encoder/config.json",
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 2000000000",
            "num_hidden_layers",
        ),
        ("text_encoder/config.json", "\"vocab_size\": 569", "\"vocab_size\": 1000000000000", "vocab_size"),
        (
            "model_index.json",
            "\"StableDiffusionPipeline\"",
            "\"StableVideoDiffusionPipeline\"",
            "StableVideoDiffusion",
        ),
    ] {
        let dir = with_copy("sd1");
        replace(&dir.join("model").join(file), from, to);
        assert_says(&refused(&dir, &[]), &[said]);
    }
}

#[test]
fn a_lora_of_another_architecture() {
    let dir = with_copy("sd1");
    let key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
    let tensor = |name: String, shape: [usize; 2]| NamedTensor {
        values: vec![0.1; shape[0] * shape[1]],
        shape: shape.to_vec(),
        name,
    };
    let tensors = [
        tensor(format!("{key}.lora_down.weight"), [2, 2048]),
        tensor(format!("{key}.lora_up.weight"), [8, 2]),
    ];
    safetensors::write(&dir.join("xl.safetensors"), &tensors).unwrap();
    assert_says(&refused(&dir, &["--lora", "xl.safetensors:0.8"]), &["xl.safetensors", "2048"]);
    safetensors::write(&dir.join("half.safetensors"), &tensors[..1]).unwrap();
    assert_says(&refused(&dir, &["--lora", "half.safetensors"]), &["half.safetensors", "up"]);
    dir.write("text.safetensors", b"not a LoRA");
    assert_says(&refused(&dir, &["--lora", "text.safetensors"]), &["text.safetensors"]);
}

#[test]
fn single_files_of_something_else() {
    let dir = TempDir::new();
    let tensor = |name: &str| NamedTensor { name: name.into(), shape: vec![2], values: vec![0.5; 2] };
    for (name, said) in [
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("model.diffusion_model.joint_blocks.0.x", "Stable Diffusion 3"),
        ("lora_unet_x.lora_down.weight", "LoRA"),
        ("anything", "expected a Stable Diffusion U-Net"),
    ] {
        safetensors::write(&dir.join("model"), &[tensor(name)]).unwrap();
        assert_says(&refused(&dir, &[]), &[said]);
    }
}

/// Multiplies a tensor of a weight file.
fn scale(path: &Path, name: &str, by: f32) {
    let mut tensors: Vec<NamedTensor> = safetensors::read(path).unwrap().into_values().collect();
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    tensor.values.iter_mut().for_each(|value| *value = (*value * by).clamp(f32::MIN, f32::MAX));
    safetensors::write(path, &tensors).unwrap();
}

#[test]
fn numbers_that_overflow_outside_of_a_training_have_its_hint_nowhere() {
    let picture = golden("sd1");
    let start = ["--steps", "2", "--sampler", "euler", "--model", "model"];
    let generate = [&["generate", "a", "--out", "x.png"][..], &start].concat();
    for (file, tensor, said) in [
        ("unet", "conv_out.weight", "latents after step 1 of 2: expected finite numbers, got "),
        ("vae", "decoder.conv_out.weight", "picture: expected finite numbers, got "),
        ("text_encoder", "text_model.final_layer_norm.weight", "latents after step 1 of 2: "),
    ] {
        let dir = with_copy("sd1");
        let name = if file == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        let path = dir.join("model").join(file).join(name).with_extension("safetensors");
        scale(&path, tensor, f32::MAX);
        let message = fails(&dir, 1, &generate);
        assert_says(&message, &[said, "hint: a setting may be too large"]);
        assert!(!message.contains("learning") && !message.contains("config.json"), "{message}");
        assert!(!dir.join("x.png").exists());
        if file == "vae" {
            image::RgbImage::new(16, 16).save(dir.join("a.png")).unwrap();
            let message = fails(&dir, 1, &["reconstruct", "a.png", "--model", "model", "--out", "out"]);
            assert!(message.contains(said) && !message.contains("learning"), "{message}");
        }
    }
    let dir = TempDir::new();
    let mut noise = NamedTensor { name: "latents".into(), shape: vec![1, 4, 8, 8], values: vec![0.5; 256] };
    noise.values[7] = f32::NAN;
    safetensors::write(&dir.join("noise.safetensors"), &[noise]).unwrap();
    let args =
        ["generate", "a", "--model", &picture, "--out", "x.png", "--init-latents", "noise.safetensors"];
    let message = fails(&dir, 1, &[&args[..], &["--width", "16", "--height", "16"]].concat());
    assert_says(&message, &["noise.safetensors", "`latents`: expected finite numbers, got NaN"]);
    assert!(!message.contains("hint"), "{message}");
}
