//! `calotype bench`, and bf16.

use super::*;

const UNET: &str = r#"{"_class_name": "UNet2DConditionModel", "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 12}"#;
const AUTOENCODER: &str = r#"{"_class_name": "AutoencoderKL", "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;

fn bench<'a>(config: &'a str, size: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let what = ["bench", "--config", config, "--batch", "2", "--size", size, "--steps", "3", "--json"];
    [&what[..], more].concat()
}

#[test]
fn times_a_step_of_any_config() {
    let dir = TempDir::new();
    dir.write("unet.json", UNET);
    dir.write("vae.json", AUTOENCODER);
    for config in ["unet.json", "vae.json"] {
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
        // Two gradients for each product.
        let gflop = |report: &Value| report["gflop_per_step"].as_f64().unwrap();
        assert!((gflop(&train) / gflop(&forward) - 3.0).abs() < 1e-9);
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
    let bf16 = run(&dir, &bench("vae.json", "8", &["--mode", "train", "--dtype", "bf16"]));
    assert!(bf16.status.success() || stderr(&bf16).contains("AVX512-BF16"), "{}", stderr(&bf16));
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
