//! `calotype bench`, and bf16.

use super::*;

const UNET: &str = r#"{"_class_name": "UNet2DConditionModel", "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 12}"#;
const AUTOENCODER: &str = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
const CLIP_MODEL: &str = r#"{"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 8,
    "text_config": {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "projection_dim": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12, "eos_token_id": 49},
    "vision_config": {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 8, "patch_size": 4}}"#;

fn bench<'a>(config: &'a str, size: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let what = ["bench", "--config", config, "--batch", "2", "--size", size, "--steps", "3", "--json"];
    [&what[..], more].concat()
}

#[test]
fn times_a_step_of_any_config() {
    let dir = TempDir::new();
    dir.write("unet.json", UNET);
    dir.write("vae.json", AUTOENCODER);
    dir.write("clip.json", CLIP_MODEL);
    for config in ["unet.json", "vae.json", "clip.json"] {
        let report = |mode| json(&succeeds(&dir, &bench(config, "8", &["--mode", mode])));
        let (train, forward) = (report("train"), report("forward"));
        for report in [&train, &forward] {
            let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report}"));
            assert!(number("min_ms") > 0.0 && number("min_ms") <= number("median_ms"), "{report}");
            assert!(number("median_ms") <= number("max_ms") && number("steps") == 3.0, "{report}");
            assert!(number("gflops") > 0.0 && number("percent_of_peak") > 0.0, "{report}");
            let expected = number("gflop_per_step") / number("median_ms") * 1e3;
            assert!((number("gflops") / expected - 1.0).abs() < 1e-9, "{report}");
            assert!(cfg!(not(target_os = "linux")) || number("peak_rss_mib") > 1.0, "{report}");
        }
        let halves = json(&succeeds(&dir, &bench(config, "8", &["--mode", "forward", "--weights", "f16"])));
        assert_eq!((&forward["weights"], &halves["weights"]), (&"f32".into(), &"f16".into()));
        // Two gradients for each product.
        let gflop = |report: &Value| report["gflop_per_step"].as_f64().unwrap();
        assert!((gflop(&train) / gflop(&forward) - 3.0).abs() < 1e-9);
        if config == "vae.json" {
            let back = gflop(&report("decode")) / gflop(&forward);
            assert!(back > 0.3 && back < 0.9, "the decoder is {back} of the way there and back");
        }
    }
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let dir = TempDir::new();
    dir.write("vae.json", AUTOENCODER);
    dir.write("other.json", r#"{"_class_name": "VQModel"}"#);
    let forward = &["--mode", "forward"];
    assert_says(&fails(&dir, 1, &bench("other.json", "8", forward)), &["VQModel", "AutoencoderKL"]);
    assert_says(&fails(&dir, 1, &bench("missing.json", "8", forward)), &["missing.json"]);
    assert_says(&fails(&dir, 2, &bench("vae.json", "7", forward)), &["--size", "multiple of 2"]);
    assert_says(&fails(&dir, 2, &bench("vae.json", "0", forward)), &["--size"]);
    dir.write("unet.json", UNET);
    assert_says(
        &fails(&dir, 2, &bench("unet.json", "8", &["--mode", "decode"])),
        &["--mode", "AutoencoderKL", "UNet2DConditionModel"],
    );
    let halves = &["--mode", "train", "--weights", "f16"];
    assert_says(&fails(&dir, 2, &bench("vae.json", "8", halves)), &["--weights", "f32", "f16"]);
    let unknown = &["--mode", "forward", "--weights", "q4"];
    assert_says(&fails(&dir, 2, &bench("vae.json", "8", unknown)), &["--weights", "q4", "f32, f16, bf16"]);
    dir.write("clip.json", CLIP_MODEL);
    assert_says(&fails(&dir, 2, &bench("clip.json", "16", forward)), &["--size", "image_size", "8"]);
    let longer = &["--mode", "forward", "--context-tokens", "13"];
    assert_says(&fails(&dir, 2, &bench("clip.json", "8", longer)), &["--context-tokens", "at most 12"]);
    // A tower alone has nothing to be compared with.
    dir.write("text.json", r#"{"model_type": "clip_text_model"}"#);
    assert_says(
        &fails(&dir, 1, &bench("text.json", "8", forward)),
        &["clip_text_model", "`model_type` clip"],
    );
    let bf16 = run(&dir, &bench("vae.json", "8", &["--mode", "train", "--dtype", "bf16"]));
    assert!(bf16.status.success() || stderr(&bf16).contains("AVX512-BF16"), "{}", stderr(&bf16));
}

#[test]
fn the_page_about_a_machine_says_what_it_does_and_what_each_recipe_takes() {
    let dir = TempDir::new();
    let edited = TINY.replace("cached_scenes", "cache_text = true\ncached_scenes");
    assert_ne!(edited, TINY);
    dir.write("mine.toml", edited);
    let page = json(&succeeds(&dir, &["bench", "--system", "--recipe", "mine.toml", "--json"]));
    let above_zero = |value: &Value| assert!(value.as_f64().is_some_and(|x| x > 0.0), "{value} of {page}");
    ["cores", "threads", "memory_gb_per_second"].iter().for_each(|key| above_zero(&page[*key]));
    assert_eq!((&page["threads"], &page["device"]), (&1.into(), &"cpu".into()));
    let list = |value: &Value| value.as_array().unwrap_or_else(|| panic!("{page}")).clone();
    assert!(list(&page["devices"]).contains(&"cpu".into()) && page["processor"].is_string(), "{page}");
    for choice in list(&page["products"]) {
        assert!(list(&page["instruction_sets"]).contains(&choice["instruction_set"]), "{page}");
        assert!(choice["why"].as_str().is_some_and(|why| why.len() > 10), "{page}");
    }
    for peak in list(&page["peaks"]) {
        ["gflops_one_core", "gflops_all"].iter().for_each(|key| above_zero(&peak[*key]));
    }
    let recipes = list(&page["recipes"]);
    let names: Vec<&str> = recipes.iter().map(|recipe| recipe["recipe"].as_str().unwrap()).collect();
    assert_eq!(names, ["smoke", "demo", "full", "mine.toml"]);
    for recipe in &recipes {
        let parts = list(&recipe["parts"]);
        let parts_of = |key: &str| parts.iter().map(|part| part[key].clone()).collect::<Vec<_>>();
        assert_eq!(parts_of("part"), ["vae", "clip", "latents", "diffusion"]);
        for key in ["steps", "done_steps", "ms_per_step", "seconds"] {
            parts_of(key).iter().for_each(above_zero);
        }
        let sum: f64 = parts_of("seconds").iter().filter_map(Value::as_f64).sum();
        assert!((recipe["seconds"].as_f64().unwrap() - sum).abs() < 1e-6 * sum, "{recipe}");
        assert!(cfg!(not(target_os = "linux")) || recipe["peak_rss_mib"].as_f64().unwrap() > 1.0, "{recipe}");
    }
    // What was copied to measure the memory is not the recipe's.
    assert!(recipes[0]["peak_rss_mib"].as_f64().is_none_or(|peak| peak < 450.0), "{page}");
    let unknown = list(&recipes[3]["not_estimated"]);
    assert!(unknown.iter().any(|unknown| unknown["what"] == "captions"), "{unknown:?}");
    assert_eq!(fs::read_dir(dir.join("")).unwrap().count(), 1, "it leaves nothing behind");
}

#[test]
fn the_page_about_a_machine_takes_no_network_and_reads_its_recipe_first() {
    let dir = TempDir::new();
    dir.write("bad.toml", "seed = 0\nsede = 1\n");
    assert_says(&fails(&dir, 2, &["bench", "--system", "--config", "unet.json"]), &["--system", "--config"]);
    assert_says(&fails(&dir, 2, &["bench", "--system", "--dtype", "bf16"]), &["--system", "--dtype"]);
    assert_says(&fails(&dir, 2, &["bench", "--recipe", "bad.toml"]), &["--system"]);
    assert_says(&fails(&dir, 2, &["bench"]), &["--config", "--batch", "--size", "--mode"]);
    let recipe = |name| fails(&dir, 1, &["bench", "--system", "--recipe", name]);
    assert_says(&recipe("missing.toml"), &["missing.toml", "hint"]);
    assert_says(&recipe("bad.toml"), &["bad.toml", "sede", "line 2"]);
}

#[test]
fn pictures_in_bf16_are_nearly_those_of_f32() {
    let dir = with_model();
    let generate = |dtype| {
        let what = ["generate", "a cat", "--model", "model", "--steps", "4", "--out", "cat.png"];
        run(&dir, &[&what[..], &["--dtype", dtype, "--save-latents", dtype, "--json"]].concat())
    };
    let latents = |output: &Output, dtype| {
        assert_eq!(json(output)["dtype"], dtype);
        let tensors = calotype::files::safetensors::read(&dir.join(dtype)).unwrap();
        tensors["latents"].values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()
    };
    let f32 = latents(&generate("f32"), "f32");
    let bf16 = generate("bf16");
    if !bf16.status.success() {
        assert_says(&stderr(&bf16), &["AVX512-BF16"]);
        return;
    }
    let bf16 = latents(&bf16, "bf16");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut f32.iter().zip(&bf16).map(|(a, b)| a - b)) / norm(&mut f32.iter().copied());
    assert!(difference > 0.0 && difference < 0.05, "relative difference {difference}");
}
