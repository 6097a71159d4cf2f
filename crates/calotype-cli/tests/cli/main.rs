//! The command as a user or a script meets it: exit codes, messages, JSON, signals, full disks.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{
    CLIP, DIFFUSION, Part, TINY, TempDir, VAE, assert_holds, components, files, write_files, write_model,
};

mod adapters;
mod bench;
mod benchmark;
mod checkpoints;
mod collections;
mod edit;
mod evaluation;
mod evaluation_inception;
#[cfg(feature = "onnx")]
mod evaluation_onnx;
mod evaluation_sides;
mod explain;
mod faults;
#[path = "../../../calotype/tests/it/formula.rs"]
mod formula;
mod hostile;
mod kills;
mod localisation;
mod packed_weights;
mod pairs;
mod prompts;
mod ranks;
mod released;
mod serve;
#[path = "../../../calotype/tests/it/support.rs"]
mod support;
mod sweep;
mod trainings;
mod weight_files;

/// `calotype ARGS…` in `dir`, on one thread.
fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(dir.join("")).args(args).args(["--threads", "1"]);
    command
}

fn run(dir: &TempDir, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn succeeds(dir: &TempDir, args: &[&str]) -> Output {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    output
}

/// The same under limits that the shell's `ulimit` sets; what breaks them is killed.
fn run_within(dir: &TempDir, limits: &str, args: &[&str]) -> Output {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.current_dir(dir.join("")).args(["-c", &script, env!("CARGO_BIN_EXE_calotype")]);
    shell.args(args).args(["--threads", "1"]).output().unwrap()
}

/// The message of a command that must fail with `code`, and neither panic nor print a result.
fn fails(dir: &TempDir, code: i32, args: &[&str]) -> String {
    failed(run(dir, args), code, args)
}

/// The message of a command that has failed with `code`, and neither panicked nor printed a result.
fn failed(output: Output, code: i32, args: &[&str]) -> String {
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(message.lines().any(|line| line.starts_with("error: ")), "{args:?}: {message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{args:?}");
    message
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All of stdout as one JSON object.
fn json(output: &Output) -> Value {
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)));
    assert!(value.is_object(), "{value}");
    value
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
}

/// A folder with `model/`.
fn with_model() -> TempDir {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    dir
}

/// A folder with `tiny.toml`.
fn with_recipe() -> TempDir {
    let dir = TempDir::new();
    dir.write("tiny.toml", TINY);
    dir
}

/// A folder with `tiny.toml` and `data/`, four scenes of 32 pixels.
fn with_data() -> TempDir {
    let dir = with_recipe();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "4", "--size", "32"]);
    dir
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

const TRAIN_VAE: [&str; 6] = ["train", "vae", "--config", "tiny.toml", "--run", "run"];
const RESUME_VAE: [&str; 7] = ["train", "vae", "--config", "tiny.toml", "--run", "run", "--resume"];
const GENERATE: [&str; 8] = ["generate", "a cat", "--model", "model", "--steps", "2", "--out", "cat.png"];

// Usage.

#[test]
fn outputs_are_checked_before_the_work() {
    let dir = with_model();
    fs::create_dir(dir.join("folder")).unwrap();
    dir.write("file", "");
    let generate = ["generate", "a cat", "--model", "model", "--steps", "999"];
    let explain = ["explain", "a cat", "--model", "model", "--steps", "999"];
    let edit = ["edit", "a cat", "--to", "a dog", "--model", "model", "--steps", "999"];
    let reconstruct = ["reconstruct", "--model", "model", "file"];
    for (verb, more, parts) in [
        (&generate[..], &["--out", "folder"][..], &["--out: expected a file", "folder"][..]),
        (&generate, &["--out", "new/"], &["--out: expected a file"]),
        (&generate, &["--out", "file/a.png"], &["--out", "`file` is a file"]),
        (&generate, &["--out", "a.gif"], &["--out", ".png, .jpg or .webp"]),
        (&generate, &["-n", "2", "--out", "two.png"], &["--out: expected a folder for 2 pictures"]),
        (&generate, &["-n", "2", "--out", "file"], &["--out: expected a folder"]),
        (&generate, &["--out", "a.png", "--save-latents", "folder"], &["--save-latents: expected a file"]),
        (&generate, &["--out", "a", "--save-latents", "a"], &["--save-latents", "--out"]),
        (&explain, &["--out", "file"], &["--out: expected a folder"]),
        (&explain, &["--out", "file/maps"], &["--out", "is a file"]),
        (&edit, &["--out", "file"], &["--out: expected a folder"]),
        (&reconstruct, &["--out", "file"], &["--out: expected a folder"]),
        (&["data", "render"], &["--out", "file/data"], &["--out", "is a file"]),
        (&["demo", "--recipe", "smoke"], &["--out", "file"], &["--out: expected a folder"]),
        (&["train", "vae", "--config", "x"], &["--run", "file"], &["--run: expected a folder"]),
        (
            &["evaluate", "--generated", "folder"],
            &["--stats-out", "folder"],
            &["--stats-out: expected a file"],
        ),
    ] {
        assert_says(&fails(&dir, 2, &[verb, more].concat()), parts);
    }
    assert!(!dir.join("two.png").exists() && !dir.join("new").exists());
}

#[test]
fn a_picture_is_what_its_ending_says() {
    let dir = with_model();
    for (file, format, records) in [
        ("cat.jpg", image::ImageFormat::Jpeg, false),
        ("cat.webp", image::ImageFormat::WebP, false),
        ("cat.png", image::ImageFormat::Png, true),
    ] {
        let output =
            succeeds(&dir, &["generate", "a cat", "--model", "model", "--steps", "2", "--out", file]);
        assert_eq!(image::guess_format(&fs::read(dir.join(file)).unwrap()).unwrap(), format);
        assert_eq!(!stderr(&output).contains("does not record its run"), records, "{file}");
    }
}

#[test]
fn bad_usage_exits_with_2() {
    let dir = with_model();
    let generate = |more: &[&str]| fails(&dir, 2, &[&GENERATE, more].concat());
    assert_says(&fails(&dir, 2, &["paint"]), &["paint"]);
    assert_says(
        &fails(&dir, 2, &["train", "vea", "--config", "a", "--run", "b"]),
        &["vea", "vae, clip, diffusion"],
    );
    assert_says(&generate(&["--stps", "3"]), &["--stps", "--steps"]);
    assert_says(&generate(&["--width", "30"]), &["--width", "multiple of 4", "30"]);
    assert_says(&generate(&["--height", "0"]), &["--height", "multiple of 4"]);
    assert_says(&generate(&["--sampler", "magic"]), &["magic", "ddpm, ddim"]);
    assert_says(&generate(&["--eta", "2"]), &["eta", "0 to 1"]);
    assert_says(&generate(&["--guidance", "nan"]), &["guidance", "finite"]);
    assert_says(&generate(&["-n", "0"]), &["-n", "at least 1"]);
    assert_says(&generate(&["--device", "cuda"]), &["--device", "--features cuda"]);
    assert_says(&generate(&["--device", "gpu:999"]), &["--device", "cpu"]);
    assert_says(&generate(&["--device", "vulkan"]), &["--device", "cpu, gpu, cuda"]);
    assert_says(
        &fails(&dir, 2, &["explain", "", "--model", "model", "--out", "x"]),
        &["prompt", "at least one word"],
    );
    let cow = ["explain", "a cat", "--words", "cow", "--model", "model", "--out", "x"];
    assert_says(&fails(&dir, 2, &cow), &["--words", "a, cat", "cow"]);
    assert!(!dir.join("cat.png").exists());
    let no_threads = Command::new(env!("CARGO_BIN_EXE_calotype"))
        .args(["data", "inspect", ".", "--threads", "0"])
        .output();
    assert_eq!(no_threads.unwrap().status.code(), Some(2));
}

#[test]
fn steps_out_of_range_are_refused() {
    let dir = with_model();
    for steps in ["0", "1001"] {
        let args = ["generate", "a cat", "--model", "model", "--steps", steps, "--out", "cat.png"];
        assert_says(&fails(&dir, 2, &args), &["steps"]);
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let dir = TempDir::new();
    let help = succeeds(&dir, &["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert_says(&text, &["demo", "train", "generate", "explain", "edit", "evaluate", "reconstruct", "data"]);
    succeeds(&dir, &["--version"]);
}

// Recipes.

#[test]
fn an_unknown_key_of_a_recipe_is_named_with_its_line() {
    let dir = with_recipe();
    let line = 1 + TINY.lines().position(|line| line.starts_with("beta = ")).unwrap();
    replace(&dir.join("tiny.toml"), "beta = ", "betta = ");
    let message = fails(&dir, 1, &TRAIN_VAE);
    assert_says(&message, &["tiny.toml", "`betta`", &format!("line {line}"), "`beta`"]);
    assert!(!dir.join("run").exists());
}

#[test]
fn a_recipe_with_an_impossible_value_is_refused() {
    for (from, to, key) in [
        ("size = 32", "size = 30", "data.size"),
        ("batch_size = 4", "batch_size = 3", "vae.training.batch_size"),
        ("learning_rate = 2e-3", "learning_rate = -1.0", "vae.training.learning_rate"),
        ("caption_dropout = 0.1", "caption_dropout = 1.5", "diffusion.caption_dropout"),
        ("attention = [true, false]", "attention = [true]", "diffusion.attention"),
        ("beta = 1e-6", "beta = 1e-6\nobjective = \"ldm\"", "vae.reconstruction"),
        ("heads = 2\nnorm", "min_snr_gamma = 5.0\np2 = {}\nheads = 2\nnorm", "diffusion.p2"),
        ("heads = 2\nnorm", "p2 = { k = 0.0 }\nheads = 2\nnorm", "diffusion.p2.k"),
        ("heads = 2\nnorm", "p2 = { gamma = -1.0 }\nheads = 2\nnorm", "diffusion.p2.gamma"),
        ("heads = 2\nnorm", "edm = {}\nmin_snr_gamma = 5.0\nheads = 2\nnorm", "diffusion.min_snr_gamma"),
        ("heads = 2\nnorm", "edm = { sigma_data = 0.0 }\nheads = 2\nnorm", "diffusion.edm.sigma_data"),
        ("heads = 2\nnorm", "edm = {}\nheads = 2\nnorm", "evaluation.sampler"),
    ] {
        let dir = with_recipe();
        replace(&dir.join("tiny.toml"), from, to);
        assert_says(&fails(&dir, 1, &TRAIN_VAE), &["tiny.toml", key, "expected"]);
    }
}

#[test]
fn a_recipe_that_is_not_there() {
    let dir = TempDir::new();
    assert_says(&fails(&dir, 1, &TRAIN_VAE), &["cannot read `tiny.toml`", "hint: "]);
}

// Models.

#[test]
fn a_model_that_is_not_there_or_not_whole() {
    let dir = with_model();
    let no_model = ["generate", "a cat", "--model", "nothing", "--out", "cat.png"];
    assert_says(&fails(&dir, 1, &no_model), &["cannot read `nothing`", "hint: "]);
    fs::create_dir(dir.join("nothing")).unwrap();
    assert_says(&fails(&dir, 1, &no_model), &["`nothing`", "model_index.json"]);

    for (weights, cut) in [
        ("vae/diffusion_pytorch_model.safetensors", 1000),
        ("unet/diffusion_pytorch_model.safetensors", 100_000),
        ("text_encoder/model.safetensors", 0),
        ("tokenizer/tokenizer.json", 200),
        ("unet/config.json", 50),
        ("scheduler/scheduler_config.json", 50),
    ] {
        let path = dir.join("model").join(weights);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..cut]).unwrap();
        assert_says(&fails(&dir, 1, &GENERATE), &["cannot read", weights]);
        fs::remove_file(&path).unwrap();
        // The tokenizer has its vocabulary in two forms.
        if weights != "tokenizer/tokenizer.json" {
            assert_says(&fails(&dir, 1, &GENERATE), &["cannot read", weights, "hint: does"]);
        }
        fs::write(&path, whole).unwrap();
    }
    succeeds(&dir, &GENERATE);
}

#[test]
fn diffusion_needs_the_other_parts() {
    let dir = with_recipe();
    let args = ["train", "diffusion", "--config", "tiny.toml", "--run", "run"];
    assert_says(&fails(&dir, 1, &args), &["run/model/vae/config.json"]);
}

// Data.

#[test]
fn a_folder_of_pictures_trains_every_part() {
    let dir = with_data();
    for part in ["vae", "clip", "diffusion"] {
        let args = ["train", part, "--config", "tiny.toml", "--run", "run", "--data", "data", "--json"];
        assert_eq!(json(&succeeds(&dir, &args))["part"], part);
    }
    succeeds(&dir, &["generate", "a cat", "--model", "run/model", "--steps", "2", "--out", "cat.png"]);
    assert_eq!(image::open(dir.join("cat.png")).unwrap().width(), 32);
}

#[test]
fn render_does_not_write_into_a_folder_with_files() {
    let dir = with_data();
    let before = files(&dir.join("data"));
    let message = fails(&dir, 2, &["data", "render", "--out", "data", "-n", "1", "--size", "64"]);
    assert_says(&message, &["data", "empty"]);
    assert!(files(&dir.join("data")) == before);
}

#[test]
fn train_does_not_overwrite_a_run() {
    let dir = with_recipe();
    let clip = ["train", "clip", "--config", "tiny.toml", "--run", "run"];
    succeeds(&dir, &clip);
    let before = files(&dir.join("run"));
    assert_says(&fails(&dir, 2, &clip), &["--run", "--resume"]);
    assert!(files(&dir.join("run")) == before);
}

// Results.

#[test]
fn json_is_one_object_and_nothing_else() {
    let dir = with_model();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "3", "--size", "32"]);

    let generated = json(&succeeds(
        &dir,
        &["generate", "a cat", "--model", "model", "--steps", "2", "-n", "3", "--out", "pictures", "--json"],
    ));
    assert_eq!(generated["images"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&generated["steps"], &generated["seed"], &generated["width"]),
        (&2.into(), &0.into(), &32.into())
    );
    for path in generated["images"].as_array().unwrap() {
        image::open(dir.join(path.as_str().unwrap())).unwrap();
    }

    assert_eq!(json(&succeeds(&dir, &["data", "inspect", "data", "--json"]))["inspection"]["count"], 3);

    let two = ["data/000000.png", "data/000001.png"];
    let reconstructed = json(&succeeds(
        &dir,
        &[&["reconstruct", "--model", "model", "--out", "back", "--json"], two.as_slice()].concat(),
    ));
    for image in reconstructed["images"].as_array().unwrap() {
        assert!(image["psnr"].as_f64().unwrap() > 0.0 && image["ssim"].is_f64(), "{image}");
        image::open(dir.join(image["reconstruction"].as_str().unwrap())).unwrap();
    }

    let evaluate =
        ["evaluate", "--generated", "pictures", "--reference", "data", "--weights", "model", "--json"];
    let evaluated = json(&succeeds(&dir, &evaluate));
    assert!(evaluated["fd-clip"]["value"].as_f64().unwrap() >= 0.0);
    assert!(evaluated["is-clip"]["value"].as_f64().unwrap() >= 1.0);
    assert_eq!(evaluated["fd-clip"]["n_generated"], 3);

    let explain = ["explain", "a cat", "--model", "model", "--steps", "2", "--out", "maps", "--json"];
    let explained = json(&succeeds(&dir, &explain));
    assert_eq!(explained["words"].as_array().unwrap().len(), 2);
}

/// One case that holds, one that does not, one of a kind that does not exist.
#[test]
fn self_test_counts_and_names_what_fails() {
    let dir = TempDir::new();
    let case = |id: &str, kind: &str, score: f64| {
        format!(
            r#"{{"id": "{id}", "kind": "{kind}", "inputs": {{"cosines": [0.25], "rule": "clamp_each"}},
                "expected": {{"score": {score}}}, "tol": {{"abs": 1e-9, "rel": 0}}}}"#
        )
    };
    let cases =
        [case("good", "clip_score", 25.0), case("bad", "clip_score", 26.0), case("odd", "no_kind", 1.0)];
    let file = format!(r#"{{"schema": 2, "cases": [{}]}}"#, cases.join(","));
    write_files(&dir.join("cases"), &[("a.json".into(), file.into_bytes())].into());
    let output = run(&dir, &["self-test", "--cases", "cases"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("1 passed, 2 failed"));
    assert_says(&stdout, &["a.json bad", "expected 26, got 25", "a.json odd", "no_kind"]);
    let output = run(&dir, &["self-test", "--cases", "cases", "--json"]);
    assert_eq!((json(&output)["passed"].as_u64(), json(&output)["failed"].as_u64()), (Some(1), Some(2)));
}

#[test]
fn self_test_without_readable_cases_is_refused() {
    let dir = TempDir::new();
    write_files(&dir.join("empty"), &[("note.txt".into(), vec![])].into());
    write_files(&dir.join("broken"), &[("a.json".into(), b"{\"schema\": 2".to_vec())].into());
    assert_says(&fails(&dir, 2, &["self-test", "--cases", "empty"]), &["--cases", "*.json"]);
    assert_says(&fails(&dir, 1, &["self-test", "--cases", "broken"]), &["a.json"]);
}

#[test]
fn a_seed_is_a_picture() {
    let dir = with_model();
    let generate = |more: &[&str], file: &str| {
        let args =
            ["generate", "a cat", "--model", "model", "--steps", "2", "--sampler", "ddpm", "--out", file];
        succeeds(&dir, &[&args, more].concat());
        pixels(&dir.join(file))
    };
    let first = generate(&[], "a.png");
    assert_eq!(first, generate(&["--seed", "0"], "b.png"));
    assert_eq!(first, generate(&["--negative", ""], "c.png"));
    assert_ne!(first, generate(&["--seed", "1"], "d.png"));
    succeeds(
        &dir,
        &[
            "generate",
            "a cat",
            "--model",
            "model",
            "--steps",
            "2",
            "--sampler",
            "ddpm",
            "-n",
            "2",
            "--out",
            "batch",
        ],
    );
    assert_eq!(first, pixels(&dir.join("batch/00000.png")));
    assert_ne!(first, pixels(&dir.join("batch/00001.png")));
}

#[test]
fn weights_that_stay_with_the_host_draw_the_same_on_the_processor() {
    let dir = with_model();
    for (out, more) in [("a.png", vec![]), ("b.png", vec!["--offload"])] {
        succeeds(
            &dir,
            &[&["generate", "a cat", "--model", "model", "--steps", "2", "--out", out], &more[..]].concat(),
        );
    }
    assert_eq!(pixels(&dir.join("b.png")), pixels(&dir.join("a.png")));
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).unwrap().into_rgb8().into_raw()
}

// Signals.
