//! Sweeps: what is shared is trained once, what is killed goes on, and what cannot be meant is refused.

use std::os::unix::fs::MetadataExt;

use super::*;

const SWEEP: [&str; 2] = ["sweep", "sweep.toml"];

/// A folder with `tiny.toml` and `sweep.toml`, whose base that is.
fn with_sweep(text: &str) -> TempDir {
    let dir = with_recipe();
    dir.write("sweep.toml", format!("base = \"tiny.toml\"\n{text}"));
    dir
}

fn sweep(dir: &TempDir, more: &[&str]) -> Value {
    json(&succeeds(dir, &[&SWEEP, more, &["--json"]].concat()))
}

/// The folders of parts that begin with a name.
fn parts(dir: &TempDir, part: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("runs/sweep/parts")) else { return vec![] };
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(part);
    entries.flatten().map(|entry| entry.path()).filter(named).collect()
}

/// The models and pictures of a sweep, and what was measured but for the time it took.
fn results(dir: &TempDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(&dir.join("runs/sweep/variants"));
    files.retain(|path, _| !path.to_str().unwrap().contains("logs/"));
    for (path, bytes) in &mut files {
        if path.ends_with("metrics.json") {
            let mut metrics: Value = serde_json::from_slice(bytes).unwrap();
            let metrics = metrics.as_object_mut().unwrap();
            metrics.retain(|name, _| !name.ends_with("_seconds"));
            *bytes = serde_json::to_vec(metrics).unwrap();
        }
    }
    files
}

const VARIANTS: &str = r#"
[[variants]]
name = "guided"
group = "Guidance"
set.evaluation.guidance = 3.0
[[variants]]
name = "v"
group = "Prediction"
set.diffusion.prediction = "v_prediction"
[[variants]]
name = "random-clip"
group = "Text"
set.clip.training.steps = 0
[[variants]]
name = "no-text"
group = "Text"
set.diffusion.caption_dropout = 1.0
[[variants]]
name = "unscaled"
group = "Latents"
set.vae.scaling_factor = 1.0
without = ["vae.beta_warm_up"]
[[variants]]
name = "too-fast"
group = "Rate"
set.diffusion.training.learning_rate = 1e30
"#;

#[test]
fn a_sweep_trains_what_is_shared_once_and_gives_what_demo_gives() {
    let dir = with_sweep(VARIANTS);
    let planned = sweep(&dir, &["--check"]);
    assert!(!dir.join("runs").exists());
    let of = |part: &str| -> Vec<&Value> {
        planned["parts"].as_array().unwrap().iter().filter(|planned| planned["part"] == part).collect()
    };
    let shared = serde_json::json!(["base", "guided", "v", "random-clip", "no-text", "too-fast"]);
    assert_eq!((of("vae").len(), of("clip").len(), of("diffusion").len()), (2, 2, 6));
    assert_eq!((&of("vae")[0]["variants"], &of("vae")[0]["steps"]), (&shared, &20.into()));
    assert_eq!(of("clip")[1]["variants"], serde_json::json!(["random-clip"]));
    assert_eq!(of("diffusion")[0]["variants"], serde_json::json!(["base", "guided"]));

    let output = succeeds(&dir, &[&SWEEP[..], &["--json"]].concat());
    let (said, found) = (stderr(&output), json(&output));
    for (part, times) in [("vae: 20 steps", 2), ("clip: 20 steps", 1), ("clip: 0 steps", 1)] {
        assert_eq!(said.matches(part).count(), times, "{part}: {said}");
    }
    assert_eq!((parts(&dir, "vae").len(), parts(&dir, "diffusion").len()), (2, 6));

    // One file under several names.
    let out = |file: &str| dir.join("runs/sweep").join(file);
    let inode = |variant: &str, file: &str| {
        fs::metadata(out(&format!("variants/{variant}/seed-3/model/{file}"))).unwrap().ino()
    };
    let (vae, unet) = ("vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors");
    assert_eq!(inode("base", vae), inode("v", vae));
    assert_ne!(inode("base", vae), inode("unscaled", vae));
    assert_eq!(inode("base", unet), inode("guided", unet));
    assert_ne!(inode("base", unet), inode("v", unet));

    // The same by `demo`, from the recipe as a whole.
    let text = fs::read_to_string(dir.join("tiny.toml")).unwrap();
    let (_, clip) = text.split_once("[clip.training]").unwrap();
    let random = text.replace(clip, &clip.replacen("steps = 20", "steps = 0", 1));
    let no_scale = text.replacen("beta_warm_up = 5", "scaling_factor = 1.0", 1);
    for (variant, recipe) in [("base", text.clone()), ("random-clip", random), ("unscaled", no_scale)] {
        dir.write("merged.toml", recipe);
        let demo = format!("demo-{variant}");
        let metrics = json(&succeeds(&dir, &["demo", "--recipe", "merged.toml", "--out", &demo, "--json"]));
        let own = out(&format!("variants/{variant}/seed-3"));
        assert!(files(&own.join("model")) == files(&dir.join(&demo).join("model")), "{variant}: model");
        assert!(files(&own.join("samples")) == files(&dir.join(&demo).join("samples")), "{variant}: samples");
        let measured: Value = serde_json::from_slice(&fs::read(own.join("metrics.json")).unwrap()).unwrap();
        for name in ["reconstruction_psnr", "noun_accuracy", "prompt_accuracy", "clip_retrieval_at_1"] {
            assert_eq!(measured[name], metrics[name], "{variant}: {name}");
        }
        // Distances are measured by the base's CLIP.
        assert_eq!(measured["fd_clip"] == metrics["fd_clip"], variant != "random-clip", "{variant}");
    }
    assert!(files(&out("variants/guided/seed-3/samples")) != files(&out("variants/base/seed-3/samples")));
    assert_says(
        &fs::read_to_string(out("variants/unscaled/seed-3/model/vae/config.json")).unwrap(),
        &["\"scaling_factor\": 1.0"],
    );

    // The empty prompt shows no word; what diverges is a result.
    let variant = |name: &str| {
        found["variants"].as_array().unwrap().iter().find(|own| own["name"] == name).unwrap().clone()
    };
    assert!(variant("no-text")["metrics"]["noun_accuracy"]["mean"].is_number());
    assert_says(&variant("no-text")["notes"].to_string(), &["heat_map_pointing"]);
    assert_says(&variant("too-fast")["notes"].to_string(), &["too-fast, seed 3", "not finite"]);
    assert_eq!(variant("too-fast")["metrics"], serde_json::json!({}));
    let table = fs::read_to_string(out("table.md")).unwrap();
    assert_says(&table, &["### Guidance", "### Text", "| random-clip |", "| too-fast | – |", "One seed, 3"]);
    assert_eq!(table.matches("| base |").count(), 5);
    assert_says(&fs::read_to_string(out("table.csv")).unwrap(), &["v,\"Prediction\",noun_accuracy,"]);
    assert_says(&fs::read_to_string(out("report.html")).unwrap(), &["Guidance: numbers", "random-clip"]);
    let generate = ["generate", "a cat", "--model", "runs/sweep/variants/v/seed-3/model", "--steps", "2"];
    succeeds(&dir, &[&generate[..], &["--out", "cat.png"]].concat());

    // Nothing is left to do; a new variant is the only thing that is; a name does not change its meaning.
    let before = files(&dir.join("runs/sweep/variants"));
    assert!(!stderr(&succeeds(&dir, &SWEEP)).contains("steps"));
    assert!(files(&dir.join("runs/sweep/variants")) == before);
    let more = format!(
        "base = \"tiny.toml\"\n{VARIANTS}[[variants]]\nname = \"l1\"\nset.vae.reconstruction = \"l1\"\n"
    );
    dir.write("sweep.toml", &more);
    let planned = sweep(&dir, &["--check"]);
    let left = |planned: &Value| {
        let parts = planned["parts"].as_array().unwrap().iter();
        parts
            .filter(|part| part["done"] == false)
            .map(|part| part["variants"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(left(&planned), ["[\"l1\"]", "[\"l1\"]"]);
    dir.write("sweep.toml", more.replace("v_prediction", "sample"));
    let message = fails(&dir, 1, &SWEEP);
    assert_says(
        &message,
        &["`v`", "diffusion.prediction", "\"v_prediction\", as", "\"sample\"", "another name"],
    );
    assert!(files(&dir.join("runs/sweep/variants")) == before);
}

#[test]
fn a_sweep_that_is_killed_goes_on_when_it_is_called_again() {
    let text = "seeds = [3, 4]\n[[variants]]\nname = \"guided\"\nset.evaluation.guidance = 3.0\n";
    let reference = with_sweep(text);
    let found = sweep(&reference, &[]);
    let nouns = &found["variants"][1]["metrics"]["noun_accuracy"];
    assert_eq!(nouns["values"].as_array().unwrap().len(), 2);
    assert!(nouns["standard_error"].is_number() && nouns["difference_standard_error"].is_number());
    assert_says(&fs::read_to_string(reference.join("runs/sweep/table.md")).unwrap(), &["seeds 3, 4", " ± "]);

    let dir = with_sweep(text);
    let checkpoint = |part: &str| {
        let states = parts(&dir, part).into_iter().map(|folder| folder.join("state").join(part));
        states
            .filter_map(|state| fs::read_dir(state).ok())
            .flatten()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|extension| extension == "safetensors"))
    };
    let moments: [&dyn Fn() -> bool; 4] = [
        &|| checkpoint("vae"),
        &|| checkpoint("diffusion"),
        &|| dir.join("runs/sweep/variants/base/seed-3/model/model_index.json").exists(),
        &|| dir.join("runs/sweep/variants/guided/seed-3/metrics.json").exists(),
    ];
    for (i, moment) in moments.iter().enumerate() {
        let mut child = command(&dir, &SWEEP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !moment() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the sweep was done before moment {i}");
    }
    // What is finished is not touched again.
    let first = dir.join("runs/sweep/variants/base/seed-3/metrics.json");
    let written = fs::metadata(&first).unwrap().modified().unwrap();
    let again = sweep(&dir, &[]);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), written);
    let (killed, whole) = (results(&dir), results(&reference));
    assert_eq!(killed.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (path, bytes) in &whole {
        assert!(killed[path] == *bytes, "{} differs", path.display());
    }
    assert_eq!(again["variants"][0]["metrics"]["is_clip"], found["variants"][0]["metrics"]["is_clip"]);
}

#[test]
fn what_is_set_for_the_base_is_set_for_all() {
    let variant = "[[variants]]\nname = \"l1\"\nset.vae.reconstruction = \"l1\"\n";
    let dir = with_sweep(&format!("set.vae.training.steps = 7\n{variant}"));
    let planned = sweep(&dir, &["--check"]);
    let steps: Vec<&Value> = planned["parts"].as_array().unwrap().iter().map(|part| &part["steps"]).collect();
    assert_eq!(steps.iter().filter(|steps| steps.as_u64() == Some(7)).count(), 2, "{planned}");
}

#[test]
fn a_sweep_that_cannot_be_meant_is_refused() {
    let l1 = "[[variants]]\nname = \"l1\"\nset.vae.reconstruction = \"l1\"\n";
    let variant = |text: &str| format!("[[variants]]\nname = \"x\"\n{text}\n");
    for (text, parts) in [
        (variant("set.vae.betta = 1.0"), &["variant `x`", "unknown field `betta`", "`beta`"][..]),
        (variant("set.vae.beta = -1.0"), &["variant `x`", "vae.beta", "at least 0"]),
        (variant(""), &["variants.x", "`set` or `without`", "none"]),
        (variant("set.vae.beta = 1e-6"), &["variants.x", "what `base` is"]),
        (variant("set.vae.training.log_every = 5"), &["variants.x", "what `base` is"]),
        (variant("without = [\"vae.beta_warmup\"]"), &["variants.x.without", "`vae.beta_warmup`"]),
        (variant("without = [\"vae.beta\"]"), &["variant `x`", "missing field `beta`"]),
        (variant("set.seed = 1"), &["variants.x.set.seed", "`seeds`"]),
        (variant("sett.seed = 1"), &["sweep.toml", "unknown field `sett`", "line"]),
        (format!("{l1}{l1}"), &["variants.l1", "`l1` twice"]),
        (format!("{l1}{}", variant("set.vae.reconstruction = \"l1\"")), &["variants.x", "what `l1` is"]),
        (l1.replace("l1\"\nset", "base\"\nset"), &["variants.base", "`base` twice"]),
        (l1.replace("l1\"\nset", "../l1\"\nset"), &["variants.../l1", "names a folder"]),
        (format!("seeds = []\n{l1}"), &["seeds", "at least one"]),
        (format!("seeds = [1, 1]\n{l1}"), &["seeds", "each once"]),
        (format!("set.seed = 1\n{l1}"), &["set.seed", "`seeds`"]),
        (format!("set.vae.beta = -1.0\n{l1}"), &["sweep.toml: `set` of the base", "vae.beta", "at least 0"]),
    ] {
        let dir = with_sweep(&text);
        assert_says(&fails(&dir, 1, &SWEEP), parts);
        assert!(!dir.join("runs").exists(), "{text}");
    }
    let dir = with_sweep("");
    dir.write("sweep.toml", "base = \"nothing.toml\"\n");
    assert_says(&fails(&dir, 1, &SWEEP), &["key `base`", "demo, full, smoke", "`nothing.toml`"]);
    assert_says(&fails(&dir, 1, &["sweep", "nothing.toml"]), &["cannot read `nothing.toml`", "hint: "]);
    dir.write("sweep.toml", "base = \"tiny.toml\"\n");
    dir.write("other/file", "");
    assert_says(&fails(&dir, 2, &["sweep", "sweep.toml", "--out", "other"]), &["--out", "sweep.toml"]);
    replace(&dir.join("tiny.toml"), "[evaluation]\nscenes = 4\nsteps = 3\nguidance = 2.0\nseed = 1", "");
    assert_says(&fails(&dir, 1, &SWEEP), &["tiny.toml", "[evaluation]"]);
}
