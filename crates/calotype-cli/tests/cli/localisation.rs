//! `calotype evaluate --localisation`: do the words of a model read where the things are that they name?

use calotype::files::safetensors;

use super::*;

const EVALUATE: [&str; 4] = ["evaluate", "--localisation", "--model", "model"];

#[test]
fn a_model_is_asked_where_its_words_read() {
    let dir = with_model();
    let scored = |more: &[&str]| json(&succeeds(&dir, &[&EVALUATE, more, &["--json"]].concat()));
    let all = scored(&["--scenes", "20"]);
    let noun = &all["localisation"]["noun"];
    assert!(noun["n"].as_u64().unwrap() >= 20, "{noun}");
    let [mass, area] = ["mass_inside", "area_share"].map(|key| noun[key]["mean"].as_f64().unwrap());
    // Weights by formula know nothing: near chance.
    assert!((mass / area - 1.0).abs() < 0.5 && 0.05 < area && area < 0.3, "{noun}");
    assert!(noun["pointing"]["low"].as_f64() <= noun["pointing"]["rate"].as_f64(), "{noun}");
    assert!(noun["iou"]["mean"].as_f64().unwrap() > 0.0 && noun["iou_threshold"].is_f64());
    // This model reads short captions alone: backgrounds come last.
    let classes: Vec<&String> = all["localisation"].as_object().unwrap().keys().collect();
    assert_eq!(classes, ["colour", "noun", "relation", "size"]);
    assert!(all["localisation"]["relation"].is_object() || all["localisation"]["size"].is_object(), "{all}");
    assert_eq!(all["protocol"]["scenes"], 20);
    let mut on_three = Command::new(env!("CARGO_BIN_EXE_calotype"));
    on_three.current_dir(dir.join("")).args(EVALUATE).args(["--scenes", "20", "--json", "--threads", "3"]);
    assert_eq!(json(&on_three.output().unwrap()), all);
    assert_ne!(scored(&["--scenes", "20", "--seed", "1"])["localisation"], all["localisation"]);
    let nouns = ["cat", "frog", "penguin", "whale", "tree", "sunflower", "apple", "house"];
    let some = scored(&["--scenes", "3", "--nouns", &nouns.join(",")]);
    assert_eq!(some["protocol"]["nouns"], serde_json::json!(nouns));

    // What its run says that it was trained on.
    let data = format!("nouns = {nouns:?}\nsize = 32\nmax_objects = 2\n");
    dir.write("recipe.toml", format!("seed = 0\n[data]\n{data}"));
    let output = succeeds(&dir, &[&EVALUATE[..], &["--scenes", "3", "--json"]].concat());
    assert_says(&stderr(&output), &["recipe.toml: the model knows 8 nouns"]);
    assert_eq!(json(&output), some);

    let text =
        String::from_utf8(succeeds(&dir, &[&EVALUATE[..], &["--scenes", "2"]].concat()).stdout).unwrap();
    let first: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(first, ["words", "noun", "colour", "size", "relation"], "{text}");
}

#[test]
fn what_cannot_be_asked_of_a_model_is_refused() {
    let dir = with_model();
    let refused = |more: &[&str]| fails(&dir, 2, &[&EVALUATE, more].concat());
    assert_says(&refused(&["--scenes", "0"]), &["--scenes: expected at least 1, got 0"]);
    assert_says(&refused(&["--nouns", "cat,unicorn"]), &["unicorn"]);
    for option in ["--generated", "--reference", "--weights", "--metrics", "--stats-out"] {
        let value = if option == "--metrics" { "fid" } else { "model" };
        assert_says(&refused(&[option, value]), &["--model", option]);
    }
    assert_says(&fails(&dir, 2, &["evaluate", "--model", "model"]), &["--localisation"]);
    assert_says(&fails(&dir, 2, &["evaluate", "--localisation"]), &["--model"]);
    assert_says(&fails(&dir, 2, &["evaluate", "--scenes", "3", "--generated", "model"]), &["--localisation"]);
    assert_says(&fails(&dir, 1, &["evaluate", "--localisation", "--model", "none"]), &["none"]);
}

#[test]
fn a_model_without_cross_attention_has_no_words_to_ask() {
    let dir = with_model();
    let (config, weights) =
        (dir.join("model/unet/config.json"), dir.join("model/unet/diffusion_pytorch_model.safetensors"));
    for (from, to) in [
        ("CrossAttnDownBlock2D", "DownBlock2D"),
        ("CrossAttnUpBlock2D", "UpBlock2D"),
        ("\"UNetMidBlock2DCrossAttn\"", "null"),
    ] {
        replace(&config, from, to);
    }
    let kept = |name: &str| !name.contains(".attentions.") && !name.starts_with("mid_block.");
    let tensors = safetensors::read(&weights).unwrap().into_values().filter(|tensor| kept(&tensor.name));
    safetensors::write(&weights, &tensors.collect::<Vec<_>>()).unwrap();
    succeeds(&dir, &GENERATE);
    let says = "expected one whose denoiser reads the prompt by cross-attention";
    assert_says(&fails(&dir, 2, &EVALUATE), &[says]);
    assert_says(&fails(&dir, 2, &["explain", "a cat", "--model", "model", "--out", "maps"]), &[says]);
}
