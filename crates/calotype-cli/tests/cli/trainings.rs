//! Every kind of training runs, and is the same with 1 and 4 workers: one short run each.

use calotype::autoencoder::lpips;
use calotype::files::{NamedTensor, safetensors};

use super::*;

/// `tiny.toml` with other lines, in a folder that has what `part` reads.
fn with(part: &Part, changes: &[(&str, &str)]) -> TempDir {
    let dir = with_recipe();
    for (from, to) in changes {
        replace(&dir.join("tiny.toml"), from, to);
    }
    write_files(&dir.join("run/model"), &components(part.reads));
    write_files(&dir.join("other/model"), &components(part.reads));
    dir
}

/// Trains with 1 worker and with 4, and compares what is written.
fn trains(dir: &TempDir, part: &str, more: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let train = |run: &'static str, workers: &'static str| {
        let own = ["train", part, "--config", "tiny.toml", "--run", run, "--workers", workers];
        succeeds(dir, &[&own, more].concat());
        let mut kept = files(&dir.join(run));
        // States have their metadata in any order; TensorBoard's records have the time of day.
        kept.retain(|path, _| !["state", "cache", "logs/tensorboard"].iter().any(|no| path.starts_with(no)));
        kept
    };
    let one = train("run", "1");
    let four = train("other", "4");
    assert!(one == four, "{part} depends on the workers");
    one
}

fn last(kept: &BTreeMap<PathBuf, Vec<u8>>, part: &str) -> Value {
    let log = String::from_utf8(kept[Path::new(&format!("logs/{part}.jsonl"))].clone()).unwrap();
    serde_json::from_str(log.lines().last().unwrap()).unwrap()
}

#[test]
fn an_autoencoder_with_a_discriminator() {
    let changes = [
        (
            "beta_warm_up = 5",
            "beta_warm_up = 5\nreconstruction = \"l1\"\nadversarial = { weight = 0.5, start = 10, channels = 8, layers = 1 }",
        ),
        ("learning_rate = 2e-3", "learning_rate = 2e-3\nvalidate_every = 10\nbest = \"validation_ssim\""),
    ];
    let dir = with(&VAE, &changes);
    let kept = trains(&dir, "vae", &[]);
    let last = String::from_utf8(kept[Path::new("logs/vae.jsonl")].clone()).unwrap();
    let lines: Vec<Value> = last.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |step: u64, name: &str| {
        lines.iter().find(|line| line["step"] == step && line[name].is_f64()).unwrap()[name].as_f64().unwrap()
    };
    assert_eq!((at(0, "discriminator"), at(0, "adaptive_weight")), (0.0, 0.0));
    assert!(at(10, "discriminator") > 0.0 && at(10, "adaptive_weight") > 0.0);
    assert!(kept.contains_key(Path::new("best/vae/vae/diffusion_pytorch_model.safetensors")));
    assert!(kept.contains_key(Path::new("samples/vae/000020-reconstructions.png")));
}

#[test]
fn an_autoencoder_by_latent_diffusions_loss_and_a_vanilla_discriminator() {
    let lines = "beta_warm_up = 5\nobjective = \"ldm\"\nreconstruction = \"l1\"\nadversarial = { weight = 0.5, start = 10, channels = 8, layers = 1, loss = \"vanilla\" }";
    let dir = with(&VAE, &[("beta_warm_up = 5", lines)]);
    let last = last(&trains(&dir, "vae", &[]), "vae");
    let at = |name: &str| last[name].as_f64().unwrap();
    assert!(at("logvar") != 0.0 && at("discriminator") > 0.0 && at("adaptive_weight") > 0.0, "{last}");
    // 32 x 32 pixels of three numbers; the scale of the log is that of the step.
    let nll = 3072.0 * (at("reconstruction") / at("logvar").exp() + at("logvar"));
    assert!((at("nll") / nll - 1.0).abs() < 1e-3, "{nll}, but {last}");
    // The scale is no part of the model.
    let model = safetensors::read(&dir.join("run/model/vae/diffusion_pytorch_model.safetensors")).unwrap();
    assert!(model.keys().all(|name| name.starts_with("encoder.")
        || name.starts_with("decoder.")
        || name.starts_with("quant_conv.")
        || name.starts_with("post_quant_conv.")));
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "1", "--size", "32"]);
    succeeds(&dir, &["reconstruct", "--model", "run/model/vae", "--out", "back", "data/000000.png"]);
}

#[test]
fn an_autoencoder_whose_halved_latents_are_halved_pictures() {
    let dir = with(&VAE, &[("beta_warm_up = 5", "beta_warm_up = 5\nscale_equivariance = 0.25")]);
    let last = last(&trains(&dir, "vae", &[]), "vae");
    let at = |name: &str| last[name].as_f64().unwrap();
    // The loss is the sum, beta at its full weight.
    let sum = at("reconstruction") + 1e-6 * at("kl") + 0.25 * at("scale_equivariance");
    assert!(at("scale_equivariance") > 0.0 && (at("loss") / sum - 1.0).abs() < 1e-5, "{sum}, but {last}");
}

#[test]
fn a_decoder_alone_leaves_the_latents_as_they_are() {
    let dir = with_model();
    dir.write("tiny.toml", TINY);
    replace(&dir.join("tiny.toml"), "beta = 1e-6", "beta = 0.0\ndecoder_only = true");
    let kept = trains(&dir, "vae", &["--model", "model"]);
    let tensors = |path: &Path| safetensors::read(path).unwrap();
    let file = "vae/diffusion_pytorch_model.safetensors";
    let (base, tuned) = (tensors(&dir.join("model").join(file)), tensors(&dir.join("run/model").join(file)));
    for (name, tensor) in &base {
        let frozen = name.starts_with("encoder.") || name.starts_with("quant_conv.");
        assert_eq!(tuned[name].values == tensor.values, frozen, "{name}");
    }
    let factor = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["scaling_factor"].clone();
    let config = fs::read(dir.join("model/vae/config.json")).unwrap();
    assert_eq!(factor(&kept[Path::new("model/vae/config.json")]), factor(&config));
}

#[test]
fn the_gradient_cache_trains_what_the_whole_batch_trains() {
    let weights = |parts: usize, objective: &str| {
        let dir =
            with(&CLIP, &[("vocab_size = 520", &format!("vocab_size = 520\nobjective = \"{objective}\""))]);
        let parts = format!("[clip.training]\nparts = {parts}");
        replace(&dir.join("tiny.toml"), "[clip.training]", &parts);
        succeeds(&dir, &["train", "clip", "--config", "tiny.toml", "--run", "run"]);
        safetensors::read(&dir.join("run/model/clip/model.safetensors")).unwrap()
    };
    for objective in ["info_nce", "siglip"] {
        let (whole, cached) = (weights(1, objective), weights(2, objective));
        // The gradient of a key's bias is zero but for rounding, which Adam makes as long as any other.
        for (name, tensor) in whole.iter().filter(|(name, _)| !name.ends_with("k_proj.bias")) {
            let difference = tensor.values.iter().zip(&cached[name].values).map(|(a, b)| (a - b).abs());
            let largest = difference.fold(0.0, f32::max);
            assert!(largest < 2e-4, "{objective}: `{name}` differs by {largest}");
        }
    }
}

#[test]
fn pictures_of_every_shape_in_buckets() {
    let dir = with(&DIFFUSION, &[]);
    for (i, (width, height)) in
        [(32, 32), (64, 32), (32, 64), (70, 33), (20, 44), (48, 48)].iter().enumerate()
    {
        let picture =
            image::RgbImage::from_fn(*width, *height, |x, y| image::Rgb([x as u8, y as u8, 40 * i as u8]));
        let class = dir.join(if i % 2 == 0 { "pictures/red_cat" } else { "pictures/dog" });
        fs::create_dir_all(&class).unwrap();
        picture.save(class.join(format!("{i}.png"))).unwrap();
    }
    replace(
        &dir.join("tiny.toml"),
        "max_objects = 1",
        "max_objects = 1\nvalidation = 0.0\ntransform = { flip = true }\nbuckets = { step = 16, max_ratio = 2.0 }",
    );
    trains(&dir, "diffusion", &["--data", "pictures", "--no-check"]);
    // The second time all latents are found.
    assert!(fs::metadata(dir.join("run/cache/latents.store")).unwrap().len() > 1000);
    trains(&with_pictures_of(&dir), "vae", &["--data", "pictures"]);
}

/// The same pictures and recipe in a new folder.
fn with_pictures_of(dir: &TempDir) -> TempDir {
    let new = TempDir::new();
    write_files(&new.join("pictures"), &files(&dir.join("pictures")));
    fs::copy(dir.join("tiny.toml"), new.join("tiny.toml")).unwrap();
    new
}

#[test]
fn a_lora_is_made_and_used() {
    let dir = with_model();
    dir.write("tiny.toml", TINY);
    let lora = "lora = { rank = 2, alpha = 4.0, text_encoder = [\"q_proj\", \"v_proj\"] }\nprompts = [\"a cat on a tree\"]\n[diffusion.training]\nvalidate_every = 10\nbest = \"validation_loss\"";
    replace(&dir.join("tiny.toml"), "[diffusion.training]", lora);
    replace(&dir.join("tiny.toml"), "learning_rate = 1e-3", "learning_rate = 5e-2");
    let kept = trains(&dir, "diffusion", &["--model", "model"]);
    assert!(last(&kept, "diffusion")["validation_loss"].is_f64());
    for picture in ["samples/diffusion/000020-samples.png", "samples/diffusion/000000-heat_maps.png"] {
        assert!(kept.contains_key(Path::new(picture)), "{picture}");
    }
    let picture = |more: &[&'static str], out: &'static str| {
        let own = ["generate", "a cat", "--model", "model", "--steps", "3", "--out", out];
        succeeds(&dir, &[&own, more].concat());
        image::open(dir.join(out)).unwrap().to_rgb8()
    };
    let plain = picture(&[], "plain.png");
    assert_ne!(plain, picture(&["--lora", "run/model/lora.safetensors:1"], "changed.png"));
    assert_eq!(plain, picture(&["--lora", "run/model/lora.safetensors:0"], "same.png"));
}

#[test]
fn a_flow_with_lion_and_averages_for_later() {
    let dir = with(&DIFFUSION, &[]);
    replace(
        &dir.join("tiny.toml"),
        "caption_dropout = 0.1",
        "caption_dropout = 0.1\nprediction = \"flow_prediction\"\ncache_text = true",
    );
    let text = fs::read_to_string(dir.join("tiny.toml")).unwrap();
    let optimizer = "[diffusion.training.optimizer]\nrule = \"lion\"\nemas = [{ power = { sigma_rel = 0.05 } }, { power = { sigma_rel = 0.1 } }]\n[diffusion.training.ema_snapshots]\nevery = 5\n[evaluation]";
    dir.write("tiny.toml", text.replace("[evaluation]", optimizer));
    write_files(&dir.join("run/model"), &components(VAE.writes));
    write_files(&dir.join("other/model"), &components(VAE.writes));
    let kept = trains(&dir, "diffusion", &[]);
    assert_eq!(kept.keys().filter(|path| path.starts_with("ema/diffusion")).count(), 4);
    succeeds(&dir, &["generate", "a cat", "--model", "run/model", "--steps", "3", "--out", "cat.png"]);

    succeeds(&dir, &["runs", "ema", "run", "--part", "diffusion", "--sigma-rel", "0.08", "--out", "longer"]);
    let average =
        |folder: &str| fs::read(dir.join(folder).join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_ne!(average("longer"), average("run/model"));
    succeeds(&dir, &["generate", "a cat", "--model", "longer", "--steps", "3", "--out", "dog.png"]);
}

#[test]
fn a_denoiser_that_reads_one_vector() {
    let pooled = "caption_dropout = 0.1\ntrain_text_encoder = true\npooled_text = true";
    let dir = with(&DIFFUSION, &[("caption_dropout = 0.1", pooled)]);
    for run in ["run", "other"] {
        write_files(&dir.join(run).join("model"), &components(CLIP.writes));
    }
    let kept = trains(&dir, "diffusion", &[]);
    let config: Value = serde_json::from_slice(&kept[Path::new("model/text_encoder/config.json")]).unwrap();
    assert_eq!(config["calotype_pooled_context"], true);
    // A file that lost the key would have a feature for each token, and draw another picture.
    let picture = |out: &'static str| {
        succeeds(&dir, &["generate", "a cat", "--model", "run/model", "--steps", "3", "--out", out]);
        pixels(&dir.join(out))
    };
    let one = picture("one.png");
    // Queries and keys are not trained, whichever way the gradients are found.
    replace(
        &dir.join("tiny.toml"),
        "pooled_text = true",
        "pooled_text = true\ngradient_checkpointing = true",
    );
    write_files(&dir.join("again/model"), &components(DIFFUSION.reads));
    write_files(&dir.join("again/model"), &components(CLIP.writes));
    succeeds(&dir, &["train", "diffusion", "--config", "tiny.toml", "--run", "again"]);
    replace(&dir.join("run/model/text_encoder/config.json"), "\"calotype_pooled_context\": true", "\"x\": 1");
    assert_ne!(one, picture("many.png"));
}

#[test]
fn a_denoiser_whose_late_steps_count_less() {
    let dir = with(&DIFFUSION, &[("caption_dropout = 0.1", "caption_dropout = 0.1\np2 = { gamma = 0.5 }")]);
    let kept = trains(&dir, "diffusion", &[]);
    let weights = Path::new("unet/diffusion_pytorch_model.safetensors");
    assert_ne!(kept[&Path::new("model").join(weights)], components(DIFFUSION.writes)[weights]);
}

#[test]
fn what_words_read_is_logged_and_changes_no_weight() {
    let dir = with(
        &DIFFUSION,
        &[
            ("caption_dropout = 0.1", "caption_dropout = 0.1\nlocalisation = 5"),
            (
                "learning_rate = 1e-3",
                "learning_rate = 1e-3\nvalidate_every = 10\nbest = \"validation_pointing\"",
            ),
        ],
    );
    let kept = trains(&dir, "diffusion", &[]);
    let weights = Path::new("unet/diffusion_pytorch_model.safetensors");
    assert!(kept[&Path::new("model").join(weights)] == components(DIFFUSION.writes)[weights]);
    let last = last(&kept, "diffusion");
    let [pointing, iou, ratio] = ["validation_pointing", "validation_iou", "validation_mass_over_area"]
        .map(|name| last[name].as_f64().unwrap_or_else(|| panic!("{name}: {last}")));
    assert!(
        (0.0..=1.0).contains(&pointing) && 0.0 < iou && iou < 1.0 && 0.0 < ratio && ratio < 20.0,
        "{last}"
    );
    assert!(kept.contains_key(Path::new("best/diffusion/model_index.json")));
}

#[test]
fn pictures_whose_objects_are_not_known_have_no_localisation() {
    let changes = [
        ("caption_dropout = 0.1", "caption_dropout = 0.1\nlocalisation = 5"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nvalidate_every = 10"),
    ];
    let dir = with(&DIFFUSION, &changes);
    for i in 0..8_u8 {
        let folder = if i < 6 { "plain" } else { "held" };
        dir.write(&format!("{folder}/{i}.txt"), "a cat");
        let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([i * 30, 9, 9]));
        picture.save(dir.join(format!("{folder}/{i}.png"))).unwrap();
    }
    let train = ["train", "diffusion", "--config", "tiny.toml", "--run", "run", "--data", "plain"];
    let message = fails(&dir, 1, &[&train[..], &["--validation", "held"]].concat());
    assert_says(&message, &["diffusion.localisation", "masks or boxes", "none among the first 2"]);
}

#[test]
fn an_edm_is_trained_and_sampled() {
    let changes = [
        (
            "caption_dropout = 0.1",
            "caption_dropout = 0.1\nedm = { std = 1.0 }\nprompts = [\"a cat on a tree\"]",
        ),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nvalidate_every = 20"),
        ("scenes = 4", "scenes = 4\nsampler = \"euler\""),
    ];
    let dir = with(&DIFFUSION, &changes);
    let kept = trains(&dir, "diffusion", &[]);
    let json = |path: &str| serde_json::from_slice::<Value>(&kept[Path::new(path)]).unwrap();
    let scheduler = json("model/scheduler/scheduler_config.json");
    assert_eq!(
        (&scheduler["_class_name"], &scheduler["sigma_data"]),
        (&"EDMEulerScheduler".into(), &1.0.into())
    );
    assert_eq!(json("model/model_index.json")["scheduler"][1], "EDMEulerScheduler");
    // The target has unit variance where the latents have.
    let loss = last(&kept, "diffusion")["validation_loss"].as_f64().unwrap();
    assert!((0.2..3.0).contains(&loss), "{loss}");
    assert!(kept.contains_key(Path::new("samples/diffusion/000020-samples.png")));

    let generate = ["generate", "a cat", "--model", "run/model", "--steps", "3", "--out"];
    succeeds(&dir, &[&generate, ["cat.png"].as_slice()].concat());
    let named = ["dog.png", "--sampler", "dpm++2m", "--schedule", "exponential"];
    succeeds(&dir, &[&generate, named.as_slice()].concat());
    assert_ne!(fs::read(dir.join("cat.png")).unwrap(), fs::read(dir.join("dog.png")).unwrap());
    let message = fails(&dir, 2, &[&generate, ["cow.png", "--sampler", "ddim"].as_slice()].concat());
    assert_says(&message, &["sampler", "works in sigma", "ddim"]);
}

#[test]
fn what_would_have_no_effect_is_refused() {
    let dir = with_data();
    let refuses = |args: &[&str], says: &[&str]| assert_says(&fails(&dir, 2, args), says);
    refuses(
        &[TRAIN_VAE.as_slice(), &["--data", "data", "--validation", "data"]].concat(),
        &["--validation", "validate_every"],
    );
    refuses(&["train", "clip", "--config", "tiny.toml", "--run", "run", "--model", "model"], &["--model"]);
    replace(
        &dir.join("tiny.toml"),
        "learning_rate = 2e-3",
        "learning_rate = 2e-3\nvalidate_every = 5\nbest = \"validation_pnsr\"",
    );
    let message = fails(&dir, 1, &TRAIN_VAE);
    assert_says(&message, &["training.best", "validation_psnr", "`validation_pnsr`"]);
}

/// Weights of LPIPS with AlexNet by formula, in the two files that people have.
fn write_lpips(dir: &TempDir) {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let value = |u: f64| match &name {
            _ if name.starts_with("lin") => u,
            _ if name.ends_with("weight") => (2.0 * u - 1.0) * (6.0 / fan_in).sqrt(),
            _ => 0.2 * (2.0 * u - 1.0),
        };
        let values = formula::uniform(&name, shape.iter().product()).map(|u| value(u) as f32).collect();
        NamedTensor { name, shape, values }
    };
    let all: Vec<NamedTensor> =
        lpips::weights::shapes(lpips::Backbone::AlexNet).into_iter().map(tensor).collect();
    let (linear, backbone): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|tensor| tensor.name.starts_with("lin"));
    safetensors::write(&dir.join("alexnet.safetensors"), &backbone).unwrap();
    safetensors::write(&dir.join("alex.safetensors"), &linear).unwrap();
}

#[test]
fn an_autoencoder_with_lpips_and_without_its_weights() {
    let lpips =
        "perceptual = { weight = 0.1, backbone = \"alexnet.safetensors\", linear = \"alex.safetensors\" }";
    let dir = with(&VAE, &[("beta_warm_up = 5", &format!("beta_warm_up = 5\n{lpips}"))]);
    assert_says(&fails(&dir, 1, &TRAIN_VAE), &["cannot read", "alexnet.safetensors"]);
    write_lpips(&dir);
    let lpips = last(&trains(&dir, "vae", &[]), "vae")["lpips"].as_f64().unwrap();
    assert!(lpips > 0.0);
}

fn events(kept: &BTreeMap<PathBuf, Vec<u8>>, part: &str) -> Vec<Value> {
    let log = String::from_utf8(kept[Path::new(&format!("logs/{part}.events.jsonl"))].clone()).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_damaged_picture_is_named_once_and_replaced() {
    let dir = with_recipe();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "8", "--size", "32"]);
    let whole = fs::read(dir.join("data/000003.png")).unwrap();
    dir.write("data/000003.png", &whole[..whole.len() / 2]);
    replace(
        &dir.join("tiny.toml"),
        "max_objects = 1",
        "max_objects = 1\nvalidation = 0.0\nmax_damaged = 0.2",
    );
    for part in ["vae", "clip", "diffusion"] {
        if part == "diffusion" {
            write_files(&dir.join("other/model"), &files(&dir.join("run/model")));
        }
        let kept = trains(&dir, part, &["--data", "data"]);
        let events = events(&kept, part);
        let damaged: Vec<&Value> =
            events.iter().filter(|event| event["event"] == "damaged_picture").collect();
        assert_eq!(damaged.len(), 1, "{part}: {events:?}");
        assert_says(damaged[0]["name"].as_str().unwrap(), &["000003.png"]);
    }
}

#[test]
fn a_clip_that_learns_nothing_is_warned_of() {
    let dir = with(&CLIP, &[]);
    let text = fs::read_to_string(dir.join("tiny.toml")).unwrap();
    let (before, clip) = text.split_once("[clip.training]").unwrap();
    let clip = clip.replacen("learning_rate = 2e-3", "learning_rate = 1e-9", 1);
    dir.write("tiny.toml", format!("{before}[clip.training]{clip}"));
    let events = events(&trains(&dir, "clip", &[]), "clip");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_says(events[0]["reason"].as_str().unwrap(), &["nothing is learned", "1.386"]);
}

#[test]
fn an_autoencoder_is_validated_by_rfid() {
    let lines = "beta_warm_up = 5\ninception = \"inception.safetensors\"";
    let dir = with(
        &VAE,
        &[
            ("beta_warm_up = 5", lines),
            ("max_objects = 1", "max_objects = 1\nvalidation = 0.5"),
            ("learning_rate = 2e-3", "learning_rate = 2e-3\nvalidate_every = 20\nbest = \"validation_rfid\""),
        ],
    );
    let mut weights: Vec<NamedTensor> = formula::inception::tensors().into_values().collect();
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    safetensors::write(&dir.join("inception.safetensors"), &weights).unwrap();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "8", "--size", "32"]);
    succeeds(&dir, &[TRAIN_VAE.as_slice(), &["--data", "data"]].concat());
    let rfid = last(&files(&dir.join("run")), "vae")["validation_rfid"].as_f64().unwrap();
    assert!(rfid > 0.0);
    assert!(dir.join("run/best/vae/vae/config.json").exists());
}
