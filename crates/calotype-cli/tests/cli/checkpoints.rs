//! Stable Diffusion in and out: folders, single files, LoRAs, pictures from pictures, runs repeated.

use std::fs;
use std::path::{Path, PathBuf};

use calotype::files::{NamedTensor, safetensors};

use super::hostile::with_copy;
use super::support::TempDir;
use super::weight_files::as_in;
use super::{assert_says, fails, json, pixels, replace, stderr, succeeds};

/// A small model with random weights, made by diffusers.
pub fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../calotype/tests/golden/stable_diffusion");
    folder.join(name).display().to_string()
}

/// Final latents of two steps.
pub fn latents(dir: &TempDir, model: &str, more: &[&str]) -> Vec<f32> {
    let args = [
        "generate",
        "a red cat",
        "--model",
        model,
        "--steps",
        "2",
        "--sampler",
        "euler",
        "--guidance",
        "7.5",
        "--out",
        "x.png",
        "--save-latents",
        "x.safetensors",
    ];
    succeeds(dir, &[&args, more].concat());
    safetensors::read(&dir.join("x.safetensors")).unwrap().remove("latents").unwrap().values
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn a_model_is_the_same_in_every_layout() {
    for model in ["sd1", "sd1-inpaint", "sd2", "sdxl"] {
        let dir = TempDir::new();
        let model = golden(model);
        let inpaints = model.ends_with("inpaint");
        let scene = dir.join("scene.png");
        image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 15, y as u8 * 15, 90]))
            .save(scene)
            .unwrap();
        let more: &[&str] =
            if inpaints { &["--init-image", "scene.png", "--mask", "scene.png"] } else { &[] };
        let first = latents(&dir, &model, more);
        // A single file has no place for a vocabulary that is not OpenAI's.
        let from_file = [more, &["--tokenizer", &model]].concat();
        succeeds(&dir, &["convert", &model, "one.safetensors"]);
        assert_eq!(first, latents(&dir, "one.safetensors", &from_file), "{model}: single file");
        let output =
            succeeds(&dir, &["convert", "one.safetensors", "again", "--tokenizer", &model, "--json"]);
        assert_eq!((&json(&output)["layout"], &json(&output)["dtype"]), (&"folder".into(), &"f16".into()));
        assert_eq!(first, latents(&dir, "again", more), "{model}: folder again");
        let message = fails(&dir, 1, &["convert", "one.safetensors", "lost"]);
        assert_says(&message, &["tokens of the tokenizer", "569", "49408"]);
        assert!(!dir.join("lost/model_index.json").exists());
        assert_says(&fails(&dir, 2, &["convert", &model, "again"]), &["OUT", "a path where nothing is yet"]);
        // The weights are f16: f32 holds them exactly, bf16 does not.
        succeeds(&dir, &["convert", &model, "wide", "--dtype", "f32"]);
        assert_eq!(first, latents(&dir, "wide", more), "{model}: f32");
        succeeds(&dir, &["convert", &model, "brain.safetensors", "--dtype", "bf16"]);
        let difference = largest_difference(&first, &latents(&dir, "brain.safetensors", &from_file));
        assert!(difference > 0.0 && difference < 0.2, "{model}: bf16 {difference}");
    }
}

#[test]
fn a_scheduler_that_is_not_known_here_goes_through() {
    let dir = with_copy("sdxl");
    let config = dir.join("model/scheduler/scheduler_config.json");
    replace(
        &config,
        "\"EulerDiscreteScheduler\",",
        "\"DEISMultistepScheduler\", \"lambda_min_clipped\": -Infinity,",
    );
    replace(&config, "\"prediction_type\": \"epsilon\"", "\"prediction_type\": \"v_prediction\"");
    succeeds(&dir, &["convert", "model", "again"]);
    let index = fs::read_to_string(dir.join("again/model_index.json")).unwrap();
    assert!(index.contains("DEISMultistepScheduler"), "{index}");
    assert_eq!(
        fs::read(&config).unwrap(),
        fs::read(dir.join("again/scheduler/scheduler_config.json")).unwrap()
    );
    succeeds(&dir, &["convert", "model", "one.safetensors"]);
    let tensors = safetensors::read(&dir.join("one.safetensors")).unwrap();
    assert!(tensors.contains_key("v_pred"), "the mark that other readers look for");
    let generate = ["generate", "a cat", "--model", "again", "--steps", "2", "--out", "x.png"];
    assert_says(&fails(&dir, 1, &generate), &["_class_name", "name a sampler"]);
    succeeds(&dir, &[&generate[..], &["--sampler", "euler"]].concat());
    let endless = "(".repeat(1 << 20);
    assert_says(
        &fails(
            &dir,
            2,
            &["generate", &endless[..100_000], "--model", "again", "--out", "x.png", "--sampler", "euler"],
        ),
        &["65536"],
    );
}

/// A tensor whose neighbouring numbers differ.
pub fn ramp(name: &str, shape: &[usize], scale: f32) -> NamedTensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| ((i % 7) as f32 - 3.0) * scale).collect();
    NamedTensor { name: name.into(), shape: shape.to_vec(), values }
}

#[test]
fn a_lora_is_merged_with_its_weight() {
    let dir = TempDir::new();
    let model = golden("sd1");
    let key = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q";
    let kohya = format!("lora_unet_{}", key.replace('.', "_"));
    let alpha = NamedTensor { name: format!("{kohya}.alpha"), shape: vec![1], values: vec![1.0] };
    let tensors = [
        ramp(&format!("{kohya}.lora_down.weight"), &[2, 8], 0.1),
        ramp(&format!("{kohya}.lora_up.weight"), &[8, 2], 0.2),
        alpha,
    ];
    safetensors::write(&dir.join("style.safetensors"), &tensors).unwrap();
    succeeds(&dir, &["convert", &model, "plain", "--dtype", "f32"]);
    succeeds(&dir, &["convert", "plain", "merged", "--lora", "style.safetensors:0.5"]);
    let weights = |model: &str| {
        let file = dir.join(model).join("unet/diffusion_pytorch_model.safetensors");
        safetensors::read(&file).unwrap()
    };
    let (before, after) = (weights("plain"), weights("merged"));
    let [down, up] = [&tensors[0].values, &tensors[1].values];
    for (name, tensor) in &before {
        for (i, (old, new)) in tensor.values.iter().zip(&after[name].values).enumerate() {
            let expected = if name == &format!("{key}.weight") {
                // weight · alpha / rank = 0.25
                old + 0.25 * (0..2).map(|r| up[i / 8 * 2 + r] * down[r * 8 + i % 8]).sum::<f32>()
            } else {
                *old
            };
            assert!((new - expected).abs() < 1e-6, "{name}[{i}]: {new}, expected {expected}");
        }
    }
    assert_eq!(
        latents(&dir, "merged", &[]),
        latents(&dir, "plain", &["--lora", "style.safetensors:0.5"]),
        "merged before or while it is loaded"
    );
    assert_ne!(latents(&dir, "plain", &[]), latents(&dir, "plain", &["--lora", "style.safetensors"]));
    assert_eq!(latents(&dir, "plain", &[]), latents(&dir, "plain", &["--lora", "style.safetensors:0"]));
}

#[test]
fn a_picture_records_its_run_and_repeats_it() {
    let dir = TempDir::new();
    let model = golden("sdxl");
    let args = [
        "generate",
        "a (red:1.3) cat, \"quoted\"",
        "--negative",
        "-house-",
        "--model",
        &model,
        "--steps",
        "3",
        "--sampler",
        "dpm++2m",
        "--schedule",
        "karras",
        "--rng",
        "torch-cpu",
        "--seed",
        "42",
        "--guidance",
        "5",
        "-n",
        "2",
        "--width",
        "24",
        "--height",
        "16",
        "--out",
        "first",
    ];
    succeeds(&dir, &args);
    for i in ["00000", "00001"] {
        let file = format!("first/{i}.png");
        succeeds(&dir, &["generate", "--from", &file, "--out", "again.png"]);
        assert_eq!(fs::read(dir.join(&file)).unwrap(), fs::read(dir.join("again.png")).unwrap(), "{file}");
    }
    succeeds(&dir, &["generate", "--from", "first/00000.png", "--steps", "2", "--out", "other.png"]);
    assert_ne!(pixels(&dir.join("first/00000.png")), pixels(&dir.join("other.png")));

    let chunks = calotype::files::png_text::read(&fs::read(dir.join("first/00001.png")).unwrap()).unwrap();
    assert_eq!(chunks[0].0, "parameters");
    assert_says(
        &chunks[0].1,
        &[
            "a (red:1.3) cat, \"quoted\"\nNegative prompt: -house-\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, \
             CFG scale: 5, Seed: 43, Size: 24x16, Model: sdxl",
        ],
    );
    // A picture may not say where to write.
    let png = fs::read(dir.join("first/00000.png")).unwrap();
    let evil = r#"{"options":{"recorded-prompt":"x","out":"/tmp/elsewhere.png"}}"#;
    let plain: Vec<u8> = {
        let picture = image::load_from_memory(&png).unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let bytes = calotype::files::png_text::insert(&plain, &[("calotype", evil)]).unwrap();
    dir.write("evil.png", bytes);
    let message = fails(&dir, 1, &["generate", "--from", "evil.png", "--out", "y.png"]);
    assert_says(&message, &["evil.png", "`out`", "may not set"]);
    dir.write("plain.png", plain);
    let message = fails(&dir, 1, &["generate", "--from", "plain.png", "--out", "y.png"]);
    assert_says(&message, &["plain.png", "made by `calotype generate`"]);
}

#[test]
fn pictures_from_pictures() {
    let dir = TempDir::new();
    let model = golden("sd1");
    let picture = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 15, 200, y as u8 * 15]));
    picture.save(dir.join("scene.png")).unwrap();
    let half = image::GrayImage::from_fn(16, 16, |x, _| image::Luma([if x < 8 { 255 } else { 0 }]));
    half.save(dir.join("mask.png")).unwrap();
    let base = latents(&dir, &model, &[]);
    let weak = latents(&dir, &model, &["--init-image", "scene.png", "--strength", "0.5"]);
    let strong = latents(&dir, &model, &["--init-image", "scene.png", "--strength", "1"]);
    assert_ne!(base, weak);
    assert_ne!(weak, strong);
    // Outside of the mask the latents are the picture's own.
    let masked = latents(&dir, &model, &["--init-image", "scene.png", "--mask", "mask.png"]);
    let other = latents(&dir, &model, &["--init-image", "scene.png", "--mask", "mask.png", "--seed", "9"]);
    for (i, (a, b)) in masked.iter().zip(&other).enumerate() {
        let painted = i % 8 < 4;
        assert_eq!(a != b, painted, "latent {i}");
    }
    let generate = ["generate", "a cat", "--model", &model, "--out", "x.png"];
    // What is transparent is not painted; a mask that changes nothing, or all, is named.
    let clear =
        image::RgbaImage::from_fn(16, 16, |x, _| image::Rgba([255, 255, 255, if x < 8 { 255 } else { 0 }]));
    clear.save(dir.join("clear.png")).unwrap();
    assert_eq!(masked, latents(&dir, &model, &["--init-image", "scene.png", "--mask", "clear.png"]));
    for (value, said) in [(0, "--mask paints nothing"), (255, "--mask paints everything")] {
        image::GrayImage::from_pixel(16, 16, image::Luma([value])).save(dir.join("one.png")).unwrap();
        let more = ["--init-image", "scene.png", "--mask", "one.png", "--steps", "2"];
        let output = succeeds(&dir, &[&generate[..], &more].concat());
        assert_says(&stderr(&output), &["warning: the ", said]);
    }
    for (more, parts) in [
        (&["--init-image", "scene.png", "--strength", "0"][..], &["--strength", "above 0"][..]),
        (&["--mask", "mask.png"], &["--init-image"]),
        (&["--lora", ""], &["--lora"]),
    ] {
        assert_says(&fails(&dir, 2, &[&generate, more].concat()), parts);
    }
    let inpaint = golden("sd1-inpaint");
    let generate = ["generate", "a cat", "--model", &inpaint, "--out", "x.png"];
    assert_says(&fails(&dir, 2, &generate), &["--mask", "only inpaints"]);
}

#[test]
fn prompts_have_weights_chunks_and_an_end() {
    let dir = TempDir::new();
    let model = golden("sd1");
    let with = |prompt: &str, more: &[&str]| {
        let args = ["generate", prompt, "--model", &model, "--steps", "2", "--out", "p.png"];
        let output = succeeds(&dir, &[&args, more].concat());
        (pixels(&dir.join("p.png")), stderr(&output))
    };
    let plain = with("a red cat", &[]).0;
    assert_eq!(plain, with("a red cat", &["--plain-prompt"]).0);
    assert_ne!(plain, with("a (red:1.8) cat", &[]).0);
    assert_ne!(plain, with("a red cat", &["--clip-skip", "1"]).0);
    assert_ne!(with("a red cat BREAK a house", &[]).0, plain);
    let long = "a red cat ".repeat(40);
    let (cut, warning) = with(&long, &[]);
    assert_says(&warning, &["warning: the model reads 75 tokens", "--long-prompt"]);
    assert_eq!(cut, with(&format!("{long} and a house"), &[]).0);
    let (whole, quiet) = with(&long, &["--long-prompt"]);
    assert!(!quiet.contains("warning"), "{quiet}");
    assert_ne!(cut, whole);
    assert_ne!(whole, with(&format!("{long} and a house"), &["--long-prompt"]).0);
    assert_says(
        &fails(&dir, 2, &["generate", "a", "--model", &model, "--clip-skip", "9", "--out", "p.png"]),
        &["--clip-skip: expected at most the"],
    );
}

#[test]
fn a_learned_word_stands_for_its_rows() {
    let dir = TempDir::new();
    let model = golden("sd1");
    let text = safetensors::read(&PathBuf::from(&model).join("text_encoder/model.safetensors")).unwrap();
    let table = text.values().find(|t| t.name.ends_with("token_embedding.weight")).unwrap();
    let width = table.shape[1];
    let rows = ramp("<thing>", &[2, width], 0.3);
    safetensors::write(&dir.join("learned.safetensors"), &[rows]).unwrap();
    let with = |prompt: &str, more: &[&str]| {
        let args = ["generate", prompt, "--model", &model, "--steps", "2", "--out", "p.png"];
        succeeds(&dir, &[&args, more].concat());
        pixels(&dir.join("p.png"))
    };
    let learned: &[&str] = &["--embedding", "learned.safetensors"];
    assert_ne!(with("a <thing>", learned), with("a <thing>", &[]));
    assert_eq!(with("a red cat", learned), with("a red cat", &[]));
    safetensors::write(&dir.join("other.safetensors"), &[ramp("<x>", &[1, width + 1], 0.3)]).unwrap();
    let args = ["generate", "a", "--model", &model, "--embedding", "other.safetensors", "--out", "p.png"];
    assert_says(&fails(&dir, 1, &args), &["other.safetensors", "the text encoder's width"]);
}

#[test]
fn what_has_no_effect_is_named_once() {
    let dir = TempDir::new();
    let model = golden("sd1");
    let text = safetensors::read(&PathBuf::from(&model).join("text_encoder/model.safetensors")).unwrap();
    let width = text.values().find(|t| t.name.ends_with("token_embedding.weight")).unwrap().shape[1];
    for file in ["EasyNeg.safetensors", "Bad Hands (neg).safetensors"] {
        safetensors::write(&dir.join(file), &[ramp("emb_params", &[2, width], 0.3)]).unwrap();
    }
    let warnings = |prompt: &str, more: &[&str]| {
        let args = ["generate", prompt, "--model", &model, "--steps", "2", "--out", "p.png"];
        let said = stderr(&succeeds(&dir, &[&args, more].concat()));
        said.lines().filter(|line| line.contains("warning")).map(str::to_owned).collect::<Vec<String>>()
    };
    let easy = ["--embedding", "EasyNeg.safetensors"];
    let nothing: [String; 0] = [];
    // Words are found in any case, in the prompt and in the negative one.
    assert_eq!(warnings("a photo of easyneg", &easy), nothing);
    assert_eq!(
        warnings("a photo", &[&easy[..], &["--negative", "EASYNEG", "--guidance", "3"]].concat()),
        nothing
    );
    let unused = warnings("a photo", &easy);
    assert!(unused.len() == 1 && unused[0].contains("\"EasyNeg\" has no effect"), "{unused:?}");
    let hands = ["--embedding", "Bad Hands (neg).safetensors"];
    let bracketed = warnings("a photo of Bad Hands (neg)", &hands);
    assert!(bracketed.len() == 1 && bracketed[0].contains(r"Bad Hands \(neg\)"), "{bracketed:?}");
    assert_eq!(warnings(r"a photo of Bad Hands \(neg\)", &hands), nothing);
    let cut = warnings("a cat", &["--negative", &"a red cat ".repeat(40), "--guidance", "3"]);
    assert!(cut.len() == 1 && cut[0].contains("the negative prompt is cut off (--long-prompt"), "{cut:?}");
    let unguided = warnings("a cat", &["--negative", "a dog", "--guidance", "1"]);
    assert!(unguided.len() == 1 && unguided[0].contains("--guidance is 1"), "{unguided:?}");
}

/// `scheduler_config.json` as the folder of Stable Diffusion 1.5 has it.
const PUBLISHED: &str = r#"{
  "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
  "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
  "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false
}"#;

#[test]
fn a_folder_and_a_single_file_sample_alike_or_say_what_is_open() {
    let dir = with_copy("sd1");
    dir.write("model/scheduler/scheduler_config.json", PUBLISHED);
    succeeds(&dir, &["convert", "model", "one.safetensors"]);
    // The same file without the scheduler that we keep in its header.
    let tensors = safetensors::read(&dir.join("one.safetensors")).unwrap();
    let mut header = safetensors::read_metadata(&dir.join("one.safetensors")).unwrap();
    assert_eq!(header.remove("calotype.scheduler").as_deref(), Some(PUBLISHED));
    let bare = tensors.values().map(|t| (t.name.as_str(), &t.shape[..], &t.values[..]));
    safetensors::write_borrowed(&dir.join("bare.safetensors"), bare, header).unwrap();
    let run = |model: &str, sampler: &[&str]| {
        let args =
            ["generate", "a", "--model", model, "--steps", "3", "--out", "x.png", "--save-latents", "l"];
        let output = succeeds(&dir, &[&args[..], sampler, &as_in("model")].concat());
        (safetensors::read(&dir.join("l")).unwrap().remove("latents").unwrap().values, stderr(&output))
    };
    for (sampler, spacing) in [
        (&[][..], "leading"),
        (&["--sampler", "ddim"], "leading"),
        (&["--sampler", "euler"], "linspace"),
        (&["--sampler", "dpm++2m"], "linspace"),
    ] {
        let (folder, said) = run("model", sampler);
        assert!(!said.contains("timestep_spacing"), "{said}");
        let (written, said) = run("one.safetensors", sampler);
        assert!(!said.contains("timestep_spacing"), "{said}");
        let (bare, said) = run("bare.safetensors", sampler);
        assert_eq!((&written, &bare), (&folder, &folder), "{sampler:?}");
        let taken = format!("prediction_type is \"epsilon\" and timestep_spacing \"{spacing}\"");
        assert_says(&said, &["bare.safetensors: it has no scheduler_config.json", &taken]);
    }
    let output = succeeds(&dir, &["convert", "bare.safetensors", "again", "--tokenizer", "model"]);
    assert_says(&stderr(&output), &["it has no scheduler_config.json"]);
    assert_eq!(run("again", &["--sampler", "euler"]).0, run("model", &["--sampler", "euler"]).0);
}
