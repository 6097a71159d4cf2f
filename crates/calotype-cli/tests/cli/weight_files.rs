//! Weight files as people have them: under any name, in any wrapping, and other things in their place.

use std::collections::HashSet;
use std::fs;

use calotype::files::{NamedTensor, safetensors};

use super::checkpoints::{golden, latents};
use super::hostile::with_copy;
use super::support::TempDir;
use super::{assert_says, fails, stderr, succeeds};

/// A text as a pickle has it.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Instructions that make a dict of f32 tensors, whose storages are numbered from `first`.
pub fn state_dict(tensors: &[NamedTensor], first: usize) -> Vec<u8> {
    let mut pickle = b"}(".to_vec();
    let numbers = |numbers: &[usize]| {
        let each = numbers.iter().flat_map(|n| [b"J", &(*n as u32).to_le_bytes()[..]].concat());
        [b"(", &each.collect::<Vec<u8>>()[..], b"t"].concat()
    };
    for (i, tensor) in tensors.iter().enumerate() {
        let stride = (0..tensor.shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product());
        pickle.extend(text(&tensor.name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec()].concat());
        pickle.extend([text(&(first + i).to_string()), text("cpu")].concat());
        pickle.extend([b"J", &(tensor.values.len() as u32).to_le_bytes()[..], b"tQK\x00"].concat());
        pickle.extend(numbers(&tensor.shape));
        pickle.extend(numbers(&stride.collect::<Vec<usize>>()));
        pickle.extend(b"\x89NtR");
    }
    pickle.push(b'u');
    pickle
}

/// A file of `torch.save` up to PyTorch 1.5: `object` is the instructions that make what is saved, `tensors` those
/// whose storages it has, in order.
pub fn torch_save(object: &[u8], tensors: &[NamedTensor]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend([b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat());
    file.extend([b"\x80\x02", object, b".\x80\x02]("].concat());
    file.extend((0..tensors.len()).flat_map(|key| text(&key.to_string())));
    file.extend(b"e.");
    for tensor in tensors {
        file.extend((tensor.values.len() as i64).to_le_bytes());
        file.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

/// A dict of one entry.
pub fn under(key: &str, value: &[u8]) -> Vec<u8> {
    [b"}", &text(key)[..], value, b"s"].concat()
}

/// What pytorch_lightning 1.4 writes: the weights, and a callback's state under its class, with a tensor in it.
fn lightning(tensors: &[NamedTensor]) -> Vec<u8> {
    let best = NamedTensor { name: "best_model_score".into(), shape: vec![1], values: vec![0.5] };
    let all = [tensors, std::slice::from_ref(&best)].concat();
    let callback = state_dict(&[best], tensors.len());
    let class = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n";
    let object = [
        &b"}("[..],
        &text("epoch"),
        b"K\x01",
        &text("state_dict"),
        &state_dict(tensors, 0),
        &text("callbacks"),
        b"}",
        class,
        &callback,
        b"s",
        &text("optimizer_states"),
        b"]u",
    ];
    torch_save(&object.concat(), &all)
}

/// A folder with a small model as a single file, and its tensors in f32.
pub fn single_file(model: &str) -> (TempDir, Vec<NamedTensor>) {
    let dir = TempDir::new();
    succeeds(&dir, &["convert", &golden(model), "one.safetensors", "--dtype", "f32"]);
    let mut tensors: Vec<NamedTensor> =
        safetensors::read(&dir.join("one.safetensors")).unwrap().into_values().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    (dir, tensors)
}

/// The tensors of a network in `DataParallel` in `torch.compile`, and how many steps it was trained.
fn under_module(tensors: &[NamedTensor]) -> Vec<NamedTensor> {
    let renamed = |tensor: &NamedTensor| NamedTensor {
        name: format!("_orig_mod.module.{}", tensor.name),
        ..tensor.clone()
    };
    tensors.iter().map(renamed).chain([zeros("global_step", &[1])]).collect()
}

/// Options of a run with a single file of a small model, which has no tokenizer and whose pictures would be large.
pub fn as_in(model: &str) -> Vec<&str> {
    vec!["--tokenizer", model, "--width", "16", "--height", "16"]
}

#[test]
fn a_file_is_what_it_holds_and_not_what_it_is_called() {
    let (dir, tensors) = single_file("sd1");
    let model = golden("sd1");
    let expected = latents(&dir, "one.safetensors", &as_in(&model));
    fs::copy(dir.join("one.safetensors"), dir.join("one.ckpt")).unwrap();
    assert_eq!(latents(&dir, "one.ckpt", &as_in(&model)), expected, "safetensors called .ckpt");
    // Without the configs that we keep in the header.
    safetensors::write(&dir.join("bare.ckpt"), &tensors).unwrap();
    let bare = latents(&dir, "bare.ckpt", &as_in(&model));
    let weights = state_dict(&tensors, 0);
    let parallel = under_module(&tensors);
    safetensors::write(&dir.join("parallel.safetensors"), &parallel).unwrap();
    assert_eq!(latents(&dir, "parallel.safetensors", &as_in(&model)), bare, "module.");
    for (name, file) in [
        ("pickle.safetensors", torch_save(&weights, &tensors)),
        ("wrapped.ckpt", torch_save(&under("state_dict", &weights), &tensors)),
        ("model.pt", torch_save(&under("model", &weights), &tensors)),
        ("average.pt", torch_save(&under("state_dict_ema", &weights), &tensors)),
        ("parallel.pt", torch_save(&under("state_dict", &state_dict(&parallel, 0)), &parallel)),
        ("nested.bin", torch_save(&under("model", &under("state_dict", &weights)), &tensors)),
        ("lightning.ckpt", lightning(&tensors)),
    ] {
        dir.write(name, file);
        assert_eq!(latents(&dir, name, &as_in(&model)), bare, "{name}");
    }
}

#[test]
fn a_lora_in_a_trainers_checkpoint_is_read() {
    let dir = TempDir::new();
    let stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v";
    let tensor = |ending: &str, shape: [usize; 2]| {
        let values = (0..shape[0] * shape[1]).map(|i| (i % 5) as f32 * 0.2 - 0.4).collect();
        NamedTensor { name: format!("{stem}.{ending}"), shape: shape.to_vec(), values }
    };
    let width = {
        let unet = format!("{}/unet/diffusion_pytorch_model.safetensors", golden("sd1"));
        let tensors = safetensors::read(unet.as_ref()).unwrap();
        tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"].shape.clone()
    };
    let tensors = [tensor("lora_down.weight", [2, width[1]]), tensor("lora_up.weight", [width[0], 2])];
    safetensors::write(&dir.join("lora.safetensors"), &tensors).unwrap();
    dir.write("lora.ckpt", lightning(&tensors));
    let with = |lora: &str| latents(&dir, &golden("sd1"), &["--lora", lora]);
    assert_eq!(with("lora.ckpt"), with("lora.safetensors"));
    assert_ne!(with("lora.ckpt"), latents(&dir, &golden("sd1"), &[]));
}

const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265146304\n";
const PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>";

#[test]
fn what_lies_in_the_place_of_weights_is_said() {
    for (content, said) in [
        (POINTER, &["Git LFS pointer", "4265146304", "hint: `git lfs pull`"][..]),
        (PAGE, &["web page", "hint: download the file itself"]),
        (b"", &["the file is empty", "hint: "]),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", &["packed by gzip", "hint: unpack it"]),
        (b"Entry not found", &["a message, `Entry not found`", "hint: download the file itself"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &["it is a picture (PNG)"]),
        (b"PAR1\x15\x04", &["it is a parquet file"]),
        (b"{\n  \"_class_name\": \"UNet2DConditionModel\"\n}", &["it is a text, which begins `{`"]),
        (&b"weights "[..], &["it does not begin with the length of a header"]),
    ] {
        let dir = with_copy("sd1");
        let generate = ["generate", "a cat", "--steps", "1", "--out", "x.png", "--model"];
        for name in ["x.safetensors", "x.ckpt"] {
            dir.write(name, content);
            let said = [&[name][..], said].concat();
            // Where the content says nothing, its name decides what is tried.
            if content == b"weights " && name == "x.ckpt" {
                continue;
            }
            assert_says(&fails(&dir, 1, &[&generate[..], &[name]].concat()), &said);
            for option in ["--lora", "--embedding"] {
                assert_says(&fails(&dir, 1, &[&generate[..], &["model", option, name]].concat()), &said);
            }
        }
        let inside = "model/unet/diffusion_pytorch_model.safetensors";
        dir.write(inside, content);
        assert_says(&fails(&dir, 1, &[&generate[..], &["model"]].concat()), &[&[inside][..], said].concat());
    }
}

#[test]
fn a_pointer_is_said_wherever_a_file_is_read() {
    let dir = TempDir::new();
    dir.write("shards/a.tar", POINTER);
    dir.write("tables/a.parquet", POINTER);
    dir.write("a.png", POINTER);
    dir.write("a.npz", POINTER);
    for args in [
        &["data", "inspect", "shards/a.tar"][..],
        &["data", "inspect", "tables/a.parquet"],
        &["reconstruct", "a.png", "--model", &golden("sd1"), "--out", "out"],
        &["evaluate", "--generated", "a.npz", "--reference", "a.npz", "--metrics", "fid"],
    ] {
        assert_says(&fails(&dir, 1, args), &["Git LFS pointer", "hint: `git lfs pull`"]);
    }
    let dir = with_copy("sd1");
    dir.write("model/unet/config.json", POINTER);
    let generate = ["generate", "a cat", "--model", "model", "--out", "x.png"];
    assert_says(&fails(&dir, 1, &generate), &["config.json", "Git LFS pointer"]);
}

/// One component of a whole model in one file, and in a file of its own.
#[test]
fn the_autoencoder_of_a_single_file_is_read() {
    let (dir, whole) = single_file("sd1");
    let pixels = NamedTensor { name: "sample".into(), shape: vec![1, 3, 16, 16], values: vec![0.25; 768] };
    safetensors::write(&dir.join("in.safetensors"), &[pixels]).unwrap();
    safetensors::write(&dir.join("whole.safetensors"), &whole).unwrap();
    let alone: Vec<NamedTensor> =
        whole.iter().filter(|tensor| tensor.name.starts_with("first_stage_model.")).cloned().collect();
    assert!(!alone.is_empty() && alone.len() < whole.len());
    safetensors::write(&dir.join("vae.safetensors"), &alone).unwrap();
    let encoded = |model: &str| {
        let out = dir.join("out.safetensors");
        let args = ["probe", "--model", model, "--component", "vae-encode", "--inputs", "in.safetensors"];
        succeeds(&dir, &[&args[..], &["--output", "out.safetensors"]].concat());
        safetensors::read(&out).unwrap()["mean"].values.clone()
    };
    // With a header that says what shapes do not tell, and without.
    assert_eq!(encoded("one.safetensors"), encoded(&golden("sd1")));
    assert_eq!(encoded("whole.safetensors"), encoded("vae.safetensors"));
}

#[test]
fn a_single_file_has_no_config_to_look_at() {
    let (dir, whole) = single_file("sd1");
    let model = golden("sd1");
    // Not that of another model which lies beside it, also if the file is called as a component's.
    dir.write("config.json", "{}");
    for file in ["x.safetensors", "model.safetensors"] {
        let mut tensors = whole.clone();
        let refused = |tensors: &[NamedTensor]| {
            safetensors::write(&dir.join(file), tensors).unwrap();
            let generate = ["generate", "a", "--model", file, "--tokenizer", &model, "--out", "x.png"];
            let message = fails(&dir, 1, &generate);
            assert!(!message.contains("config.json"), "{message}");
            message
        };
        let first = "middle_block.0.in_layers.2.weight";
        let place = tensors.iter().position(|tensor| tensor.name.ends_with(first)).unwrap();
        let missing = tensors.remove(place);
        assert_says(&refused(&tensors), &["mid_block.resnets.0.conv1.weight", "no such tensor"]);
        let mut spoilt = missing;
        spoilt.values[3] = f32::NAN;
        tensors.push(spoilt);
        assert_says(
            &refused(&tensors),
            &[
                "mid_block.resnets.0.conv1.weight",
                "NaN or infinity",
                "hint: its training has diverged, or the file is damaged",
            ],
        );
        tensors.extend(["something.else", "something.more"].map(|name| zeros(name, &[1])));
        let message = refused(&tensors);
        assert_says(&message, &["something.else", "a tensor of Stable Diffusion 1", "[1] (and 1 more)"]);
    }
}

/// What counts something in a folder has no place in a single file, and needs none.
#[test]
fn a_folder_with_counters_becomes_a_single_file() {
    let dir = with_copy("sd1");
    let stored = dir.join("model/text_encoder/model.safetensors");
    let mut tensors: Vec<NamedTensor> = safetensors::read(&stored).unwrap().into_values().collect();
    assert!(tensors.iter().any(|tensor| tensor.name.ends_with("position_ids")));
    tensors.push(zeros("text_model.final_layer_norm.num_batches_tracked", &[1]));
    safetensors::write(&stored, &tensors).unwrap();
    for (from, to) in [("model", "with.safetensors"), (&*golden("sd1"), "without.safetensors")] {
        succeeds(&dir, &["convert", from, to, "--dtype", "f32"]);
    }
    let read = |file: &str| safetensors::read(&dir.join(file)).unwrap();
    assert_eq!(read("with.safetensors"), read("without.safetensors"));
}

/// A tensor of zeros.
fn zeros(name: &str, shape: &[usize]) -> NamedTensor {
    NamedTensor { name: name.into(), shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
}

/// Final latents of two steps of a single file, and what was said.
fn run(dir: &TempDir, file: &str, model: &str) -> (Vec<f32>, String) {
    let args =
        ["generate", "a red cat", "--model", file, "--steps", "2", "--sampler", "euler", "--out", "x.png"];
    let output = succeeds(dir, &[&args[..], &["--save-latents", "x.safetensors"], &as_in(model)].concat());
    let latents = safetensors::read(&dir.join("x.safetensors")).unwrap().remove("latents").unwrap().values;
    (latents, stderr(&output))
}

#[test]
fn what_lies_beside_a_model_is_left_out_and_named() {
    let sd1 = "cond_stage_model.transformer";
    let xl = "conditioner.embedders.1.model";
    for (model, extra, listed) in [
        // Buffers, which say nothing.
        ("sd1", vec![format!("{sd1}.text_model.embeddings.position_ids")], None),
        ("sd2", vec!["cond_stage_model.model.transformer.text_model.embeddings.position_ids".into()], None),
        (
            "sd2",
            vec!["cond_stage_model.model.logit_scale".into(), "cond_stage_model.model.attn_mask".into()],
            None,
        ),
        ("sdxl", vec![format!("{xl}.transformer.text_model.embeddings.position_ids")], None),
        ("sdxl", vec!["conditioner.embedders.0.transformer.text_model.embeddings.position_ids".into()], None),
        (
            "sd1",
            vec![
                "first_stage_model.loss.discriminator.main.3.running_mean".into(),
                "discriminator.main.3.num_batches_tracked".into(),
                "model_ema.num_updates".into(),
                "betas".into(),
            ],
            None,
        ),
        // DreamBooth of 2022.
        (
            "sd1",
            vec![
                "embedding_manager.initial_embeddings.*".into(),
                "embedding_manager.string_to_param_dict.*".into(),
            ],
            Some("2 tensors that are no part of the model are left out: `embedding_manager…` (2)".to_owned()),
        ),
        // A whole CLIP.
        (
            "sd1",
            vec![
                format!("{sd1}.vision_model.pre_layrnorm.weight"),
                format!("{sd1}.vision_model.post_layernorm.bias"),
                format!("{sd1}.visual_projection.weight"),
                format!("{sd1}.vision_model.embeddings.position_ids"),
                format!("{sd1}.text_projection.weight"),
                "cond_stage_model.logit_scale".into(),
            ],
            Some(format!(
                "4 tensors that are no part of the model are left out: `cond_stage_model.logit_scale`, \
                 `{sd1}.vision_model…` (2), `{sd1}.visual_projection.weight`"
            )),
        ),
        (
            "sd2",
            vec!["cond_stage_model.model.visual.proj".into()],
            Some(
                "a tensor that is no part of the model is left out: `cond_stage_model.model.visual.proj`"
                    .into(),
            ),
        ),
        (
            "sdxl",
            vec![format!("{xl}.visual.conv1.weight"), format!("{xl}.visual.ln_pre.bias")],
            Some(format!("2 tensors that are no part of the model are left out: `{xl}.visual…` (2)")),
        ),
        // A trainer's.
        (
            "sd1",
            vec![
                "safety_checker.concept_embeds".into(),
                "optimizer_states.0.state.0.exp_avg".into(),
                "callbacks.best_model_score".into(),
            ],
            Some(
                "3 tensors that are no part of the model are left out: `callbacks.best_model_score`, \
                 `optimizer_states.0.state.0.exp_avg`, `safety_checker.concept_embeds`"
                    .into(),
            ),
        ),
    ] {
        let (dir, tensors) = single_file(model);
        let model = golden(model);
        safetensors::write(&dir.join("plain.safetensors"), &tensors).unwrap();
        let extra: Vec<NamedTensor> = extra.iter().map(|name| zeros(name, &[1, 7])).collect();
        let there: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let more = extra.iter().filter(|tensor| !there.contains(tensor.name.as_str())).cloned();
        let more: Vec<NamedTensor> = tensors.iter().cloned().chain(more).collect();
        safetensors::write(&dir.join("more.safetensors"), &more).unwrap();
        let (plain, quiet) = run(&dir, "plain.safetensors", &model);
        assert!(!quiet.contains("warning"), "{quiet}");
        let (more, said) = run(&dir, "more.safetensors", &model);
        assert_eq!(more, plain, "{extra:?}");
        match listed {
            None => assert!(!said.contains("warning"), "{said}"),
            Some(listed) => {
                assert_eq!(said.matches("warning").count(), 1, "{said}");
                assert_says(&said, &[&format!("warning: more.safetensors: {listed}\n")]);
            }
        }
    }
}

#[test]
fn averages_stand_in_for_weights_that_are_not_there() {
    let (dir, tensors) = single_file("sdxl");
    let model = golden("sdxl");
    safetensors::write(&dir.join("plain.safetensors"), &tensors).unwrap();
    let averaged = tensors.iter().cloned().map(|mut tensor| {
        if let Some(name) = tensor.name.strip_prefix("model.") {
            tensor.name = format!("model_ema.{}", name.replace('.', ""));
        }
        tensor
    });
    let mut averaged: Vec<NamedTensor> = averaged.collect();
    averaged.extend([zeros("model_ema.decay", &[1]), zeros("model_ema.num_updates", &[1])]);
    safetensors::write(&dir.join("ema.safetensors"), &averaged).unwrap();
    let (averages, said) = run(&dir, "ema.safetensors", &model);
    assert_says(&said, &["ema.safetensors: it has the averages of the U-Net's weights"]);
    let (plain, said) = run(&dir, "plain.safetensors", &model);
    assert!(!said.contains("averages"), "{said}");
    assert_eq!(averages, plain);
    dir.write("ema.ckpt", torch_save(&under("state_dict", &state_dict(&averaged, 0)), &averaged));
    assert_eq!(run(&dir, "ema.ckpt", &model).0, plain, "of a pickle");
    // Where both are there, the weights count.
    let both =
        averaged.into_iter().filter(|tensor| tensor.name.starts_with("model_ema.")).map(|mut tensor| {
            tensor.values.fill(0.5);
            tensor
        });
    safetensors::write(&dir.join("both.safetensors"), &[&tensors[..], &both.collect::<Vec<_>>()].concat())
        .unwrap();
    assert_eq!(run(&dir, "both.safetensors", &model).0, plain);
}

#[test]
fn a_folder_with_a_whole_clip_is_read() {
    let dir = with_copy("sd1");
    let expected = latents(&dir, "model", &[]);
    let path = dir.join("model/text_encoder/model.safetensors");
    let mut tensors: Vec<NamedTensor> = safetensors::read(&path).unwrap().into_values().collect();
    tensors.extend(["vision_model.post_layernorm.weight", "logit_scale"].map(|name| zeros(name, &[1])));
    safetensors::write(&path, &tensors).unwrap();
    assert_eq!(latents(&dir, "model", &[]), expected);
    let output = succeeds(&dir, &["convert", "model", "again"]);
    assert_says(
        &stderr(&output),
        &["warning: model: 2 tensors", "`logit_scale`, `vision_model.post_layernorm.weight`\n"],
    );
}

#[test]
fn a_folder_of_wrapped_networks_is_read() {
    let dir = with_copy("sd1");
    let expected = latents(&dir, "model", &[]);
    for (file, wrapper) in [
        ("unet/diffusion_pytorch_model.safetensors", "module."),
        ("vae/diffusion_pytorch_model.safetensors", "_orig_mod."),
        ("text_encoder/model.safetensors", "module.module."),
    ] {
        let path = dir.join("model").join(file);
        let tensors = safetensors::read(&path).unwrap().into_values();
        let wrapped = tensors.map(|t| NamedTensor { name: format!("{wrapper}{}", t.name), ..t });
        safetensors::write(&path, &wrapped.collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(latents(&dir, "model", &[]), expected);
}
