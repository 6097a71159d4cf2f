//! The prompts of stable-diffusion-webui: changes between the steps, sums, and LoRAs by name.

use std::fs;

use calotype::files::safetensors;
use serde_json::Value;

use super::checkpoints::{golden, ramp};
use super::support::TempDir;
use super::{assert_says, fails, json, pixels, stderr, succeeds};

/// Pixels of four steps, and the warnings.
fn picture(dir: &TempDir, prompt: &str, more: &[&str]) -> (Vec<u8>, Vec<String>) {
    let model = golden("sd1");
    let args = ["generate", prompt, "--model", &model, "--steps", "4", "--guidance", "5", "--out", "p.png"];
    let said = stderr(&succeeds(dir, &[&args, more].concat()));
    let warnings = said.lines().filter(|line| line.contains("warning")).map(str::to_owned);
    (pixels(&dir.join("p.png")), warnings.collect())
}

/// `loras/style.safetensors`, and one in a folder inside it.
fn with_loras() -> TempDir {
    let dir = TempDir::new();
    fs::create_dir_all(dir.join("loras/more")).unwrap();
    let layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q";
    let lora = |scale: f32| {
        [
            ramp(&format!("{layer}.lora_down.weight"), &[2, 8], scale),
            ramp(&format!("{layer}.lora_up.weight"), &[8, 2], scale),
        ]
    };
    safetensors::write(&dir.join("loras/style.safetensors"), &lora(0.8)).unwrap();
    safetensors::write(&dir.join("loras/more/ink.v2.safetensors"), &lora(-0.6)).unwrap();
    safetensors::write(&dir.join("outside.safetensors"), &lora(0.5)).unwrap();
    dir
}

#[test]
fn prompts_change_and_add_up_without_a_warning() {
    let dir = TempDir::new();
    let cat = picture(&dir, "a cat", &[]);
    for prompt in ["a [cat:dog:2]", "a [cat:dog:0.5]", "a [dog|cat]", "a [dog:1]", "a cat AND a dog :0.5"] {
        let (pixels, warnings) = picture(&dir, prompt, &[]);
        assert!(warnings.is_empty(), "{prompt}: {warnings:?}");
        assert_ne!(pixels, cat.0, "{prompt}");
        let plain = picture(&dir, prompt, &["--plain-prompt"]);
        assert!(plain.1.is_empty() && plain.0 != pixels, "{prompt}: {:?}", plain.1);
    }
    assert_eq!(picture(&dir, "a [dog:cat:0]", &[]).0, cat.0);
    let negative = |text: &str| picture(&dir, "a cat", &["--negative", text]).0;
    assert_eq!(negative("[dog|dog]"), negative("dog"));
    assert_ne!(negative("[dog:2]"), negative("dog"));
}

#[test]
fn what_is_no_change_or_comes_too_late_is_named() {
    let dir = TempDir::new();
    let scene = dir.join("scene.png");
    image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 15, y as u8 * 15, 90]))
        .save(scene)
        .unwrap();
    let half: &[&str] = &["--init-image", "scene.png", "--strength", "0.5"];
    for (prompt, more, parts) in [
        ("a [cat:dog:]", &[][..], &["\"[cat:dog:]\" is text", "neither [from:to:when] nor [a|b]"][..]),
        ("a [cat:dog:2", &[], &["\"[cat:dog:2\" is text", "never closed"]),
        ("a|b [cat|dog]", &[], &["\"[cat|dog]\" is text", "|"]),
        ("a [cat:dog:9]", &[], &["\"[cat:dog:9]\" never changes in 4 steps"]),
        ("a [cat:dog:3]", half, &["\"[cat:dog:3]\" never changes: 2 of the 4 steps are taken"]),
        ("a [cat:dog:0]", &[], &["\"[cat:dog:0]\" has changed before the first step"]),
        ("a <lora:film:0.8> cat", &[], &["\"<lora:film:0.8>\" is text", "--lora-dir"]),
        ("a <hypernet:film:1> cat", &[], &["\"<hypernet:film:1>\" is text"]),
        ("a cat", &["--negative", "a dog AND a house"], &["AND is a word in a negative prompt"]),
        ("a cat", &["--negative", "<lora:x:1>"], &["\"<lora:x:1>\" is text in a negative prompt"]),
    ] {
        let warnings = picture(&dir, prompt, more).1;
        assert_eq!(warnings.len(), 1, "{prompt}: {warnings:?}");
        assert_says(&warnings[0], parts);
        let plain = picture(&dir, prompt, &[more, &["--plain-prompt"]].concat()).1;
        assert!(plain.is_empty(), "{prompt}: {plain:?}");
    }
    assert!(picture(&dir, "a [cat:dog:1]", half).1.is_empty());
}

#[test]
fn what_cannot_be_read_is_refused() {
    let dir = with_loras();
    let model = golden("sd1");
    let nested = format!("{}a{}", "[".repeat(100), ":b:3]".repeat(100));
    let large = format!("a cat AND a dog :{}", "9".repeat(400));
    for (prompt, parts) in [
        (nested.as_str(), &["prompt: expected at most 32 brackets with changes or turns in each other"][..]),
        (&large, &["prompt: expected weights of AND that are numbers"]),
        ("a cat AND", &["prompt: expected a prompt on both sides of AND", "--plain-prompt"]),
        ("AND a cat", &["prompt: expected a prompt on both sides of AND"]),
        ("a <lora:>", &["prompt: expected a LoRA's tag with a name", "got <lora:>"]),
        ("a <lora:../../x:1>", &["prompt: expected a LoRA of `loras`", "got <lora:../../x:1>"]),
        ("a <lora:../outside:1>", &["prompt: expected a LoRA of `loras`"]),
        ("a <lora:stile:1>", &["prompt: expected a LoRA of `loras`: style, ink.v2"]),
        ("a <lora:style:nan>", &["weights that are finite numbers"]),
        ("a <lora:style:1:0.5>", &["the same weight for the text encoder and the U-Net"]),
    ] {
        for verb in ["generate", "explain"] {
            let args = [verb, prompt, "--model", &model, "--lora-dir", "loras", "--steps", "4", "--out", "x"];
            let out = if verb == "generate" { "x.png" } else { "x" };
            let message = fails(&dir, 2, &[&args[..args.len() - 1], &[out]].concat());
            assert_says(&message, parts);
            assert!(!dir.join(out).exists(), "{prompt}");
        }
    }
    let none = ["generate", "a cat", "--model", &model, "--lora-dir", "nowhere", "--out", "x.png"];
    assert_says(&fails(&dir, 2, &none), &["--lora-dir: expected a folder, got `nowhere`"]);
}

#[test]
fn loras_are_named_in_the_prompt() {
    let dir = with_loras();
    let named = |prompt: &str| picture(&dir, prompt, &["--lora-dir", "loras"]);
    let merged = |file: &str| picture(&dir, "a  cat", &["--lora", file]).0;
    let (style, warnings) = named("a <lora:style:0.7> cat");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(style, merged("loras/style.safetensors:0.7"));
    assert_eq!(named("a <lyco:ink.v2:te=2:unet=2> cat").0, merged("loras/more/ink.v2.safetensors:2"));
    assert_ne!(style, picture(&dir, "a cat", &[]).0);
    let both = ["--lora", "loras/style.safetensors", "--lora", "loras/more/ink.v2.safetensors:0.5"];
    assert_eq!(named("<lora:style>a cat<lora:ink.v2:.5>").0, picture(&dir, "a cat", &both).0);
    assert_eq!(named("a cat").0, picture(&dir, "a cat", &[]).0);
}

#[test]
fn a_picture_of_such_a_prompt_repeats_it() {
    let dir = with_loras();
    let model = golden("sdxl");
    let prompt = "a [cat:dog:2] <lora:style:0.5> AND a [red|green] house :0.6";
    // The layer of SD XL has another name.
    let layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q";
    let tensors =
        safetensors::read(&std::path::Path::new(&model).join("unet/diffusion_pytorch_model.safetensors"));
    let key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q.weight";
    let width = tensors.unwrap()[key].shape[0];
    let lora = [
        ramp(&format!("{layer}.lora_down.weight"), &[1, width], 0.5),
        ramp(&format!("{layer}.lora_up.weight"), &[width, 1], 0.5),
    ];
    safetensors::write(&dir.join("loras/style.safetensors"), &lora).unwrap();
    let args = ["generate", prompt, "--model", &model, "--lora-dir", "loras", "--steps", "4", "-n", "2"];
    succeeds(&dir, &[&args[..], &["--negative", "[house|tree]", "--out", "first"]].concat());
    for i in ["00000", "00001"] {
        let file = format!("first/{i}.png");
        succeeds(&dir, &["generate", "--from", &file, "--out", "again.png"]);
        assert_eq!(fs::read(dir.join(&file)).unwrap(), fs::read(dir.join("again.png")).unwrap(), "{file}");
    }
    let chunks = calotype::files::png_text::read(&fs::read(dir.join("first/00000.png")).unwrap()).unwrap();
    assert!(chunks[0].1.starts_with(prompt), "{}", chunks[0].1);
    let record: Value = serde_json::from_str(&chunks[1].1).unwrap();
    assert_eq!(
        record["options"]["lora-dir"],
        dir.join("loras").canonicalize().unwrap().display().to_string()
    );
}

#[test]
fn each_text_of_a_prompt_has_its_maps() {
    let dir = with_loras();
    let model = golden("sd1");
    let args =
        ["explain", "a [cat:dog:3]<lora:style>", "--model", &model, "--lora-dir", "loras", "--steps", "4"];
    let found = json(&succeeds(&dir, &[&args[..], &["--out", "why", "--json"]].concat()));
    let words = found["words"].as_array().unwrap();
    let told: Vec<_> = words.iter().map(|row| (row["word"].clone(), row["prompt"].clone())).collect();
    let expected = [("a", "a cat"), ("cat", "a cat"), ("a", "a dog"), ("dog", "a dog")];
    assert_eq!(told, expected.map(|(word, prompt)| (word.into(), prompt.into())));
    assert_eq!(words[1]["steps"], serde_json::json!([0, 1, 2]));
    assert_eq!(words[3]["steps"], serde_json::json!([3]));
    assert!(dir.join("why/03-dog.png").exists());
    let words = ["--words", "dog", "--out", "dog", "--json"];
    let found = json(&succeeds(&dir, &[&args[..], &words].concat()));
    assert_eq!(found["words"].as_array().unwrap().len(), 1);
    let message = fails(&dir, 2, &[&args[..], &["--words", "cow", "--out", "cow"]].concat());
    assert_says(&message, &["--words: expected words of the prompt: a, cat, dog, got cow"]);
}
