//! Whole runs of `calotype evaluate` on pictures, with an Inception whose weights come from a formula.

use std::sync::OnceLock;

use calotype::files::{NamedTensor, npz, safetensors};

use super::formula::{inception, picture};
use super::*;

/// The weight file, written once for all tests.
fn weights() -> &'static str {
    static WEIGHTS: OnceLock<(TempDir, String)> = OnceLock::new();
    let (_, path) = WEIGHTS.get_or_init(|| {
        let dir = TempDir::new();
        let path = dir.join("inception.safetensors");
        let tensors: Vec<NamedTensor> = inception::tensors().into_values().collect();
        safetensors::write(&path, &tensors).unwrap();
        (dir, path.to_str().unwrap().to_owned())
    });
    path
}

/// Pictures `first` to `last`, files made in this order or the other.
fn pictures(dir: &TempDir, folder: &str, range: std::ops::Range<u32>, backwards: bool) {
    fs::create_dir(dir.join(folder)).unwrap();
    let mut numbers: Vec<u32> = range.collect();
    if backwards {
        numbers.reverse();
    }
    for p in numbers {
        picture(f64::from(p), 40 + p % 3, 36).save(dir.join(format!("{folder}/{p:03}.png"))).unwrap();
    }
}

fn evaluate(dir: &TempDir, threads: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(dir.join("")).args([
        "evaluate",
        "--weights",
        weights(),
        "--json",
        "--threads",
        threads,
    ]);
    command.args(args).output().unwrap()
}

/// Every number of a report with its path.
fn numbers(value: &Value, path: &str, into: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => into.push((path.to_owned(), number.as_f64().unwrap())),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, v)| numbers(v, &format!("{path}.{i}"), into));
        }
        Value::Object(values) => values.iter().for_each(|(k, v)| numbers(v, &format!("{path}.{k}"), into)),
        _ => {}
    }
}

#[test]
fn threads_batches_and_the_order_of_files_change_no_number() {
    let dir = TempDir::new();
    pictures(&dir, "a", 0..9, false);
    pictures(&dir, "a_backwards", 0..9, true);
    pictures(&dir, "b", 20..28, false);
    let run = |generated: &str, threads: &str, batch: &str| {
        let sides = ["--generated", generated, "--reference", "b", "--batch", batch];
        let small = ["--splits", "2", "--k", "2", "--kid-subsets", "3", "--kid-subset-size", "6"];
        let output = evaluate(&dir, threads, &[sides.as_slice(), &small].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let (report, mut found) = (json(&output), Vec::new());
        for name in ["fid", "is", "kid", "precision", "recall", "density", "coverage"] {
            assert!(report[name]["value"].is_number(), "{name}: {report}");
            numbers(&report[name], name, &mut found);
        }
        found
    };
    let expected = run("a", "1", "1");
    assert!(expected.len() > 40, "{expected:?}");
    for (generated, threads, batch) in [("a", "2", "7"), ("a_backwards", "1", "7")] {
        let found = run(generated, threads, batch);
        assert_eq!(found.len(), expected.len());
        for ((name, got), (_, expected)) in found.iter().zip(&expected) {
            let close = (got - expected).abs() <= 1e-9 * expected.abs().max(1.0);
            assert!(close, "{name}: {got}, with one thread and picture at a time {expected}");
        }
    }
}

#[test]
fn the_report_says_how_every_number_was_made() {
    let dir = TempDir::new();
    pictures(&dir, "a", 0..4, false);
    pictures(&dir, "b", 10..13, false);
    let metrics = "fid,is,kid,prdc,cmmd,fid-infinity";
    let args = ["--generated", "a", "--reference", "b", "--metrics", metrics, "--k", "1", "--splits", "1"];
    let output = evaluate(&dir, "1", &args);
    let found = json(&output);
    for name in ["fid", "is", "kid", "precision", "recall", "density", "coverage", "cmmd", "fid-infinity"] {
        let report = &found[name];
        assert!(report["standard_error"].is_number() || report["std"].is_number(), "{name}: {report}");
        let protocol = &report["protocol"];
        assert_eq!((&protocol["extractor"], &protocol["features"]), (&"inception".into(), &2048.into()));
        assert!(protocol["calotype"].is_string() && protocol["weights_sha256"].is_string(), "{name}");
    }
    let fid = &found["fid"];
    // Four pictures span three directions, three pictures two.
    assert_eq!((&fid["rank_generated"], &fid["rank_reference"]), (&3.into(), &2.into()));
    let bias = |key: &str| fid[key].as_f64().unwrap();
    let (generated, reference) = (bias("first_order_bias_generated"), bias("first_order_bias_reference"));
    assert!(generated > 0.0 && reference > 0.0, "{fid}");
    assert!((bias("first_order_bias") - generated - reference).abs() < 1e-12, "{fid}");
    assert_eq!(found["is"]["protocol"]["split_rule"], "balanced");
    assert_says(&found["fid-infinity"]["protocol"]["standard_error"].to_string(), &["too small"]);
    assert!(found["versions"]["calotype"].is_string(), "{found}");
    assert_says(&stderr(&output), &["kid: subsets of 3 pictures", "instead of 1000", "below 10000"]);

    let logits = ["--generated", "a", "--reference", "b", "--metrics", "fid", "--features", "logits"];
    let found = json(&evaluate(&dir, "1", &logits));
    assert_eq!(found["fid"]["protocol"]["features"], "logits");
}

#[test]
fn what_is_missing_is_refused_before_a_picture_is_read() {
    let dir = TempDir::new();
    pictures(&dir, "a", 0..3, false);
    let refused = |more: &[&str], says: &[&str]| {
        let output = evaluate(&dir, "1", &[&["--generated", "a"], more].concat());
        let message = stderr(&output);
        assert!(!output.status.success() && !message.contains("generated: 3 steps"), "{more:?}: {message}");
        assert_says(&message, says);
    };
    refused(&["--metrics", "fid"], &["--reference"]);
    refused(&["--metrics", "is,kid", "--stats-out", "a.npz"], &["--reference", "kid"]);
    refused(&["--metrics", "is", "--stream"], &["--stream", "is"]);
    refused(&["--reference", "a", "--metrics", "fd-clip"], &["--extractor", "clip"]);
    assert!(!dir.join("a.npz").exists());

    // Another width, and the protocol of other weights.
    let file = |name: &str, width: usize, protocol: &str| {
        let rows = (0..4 * width).map(|i| (i as f64).sin()).collect();
        super::evaluation::write(&dir, name, "features", npz::Array::new(&[4, width], rows), protocol);
    };
    file("narrow.npz", 64, "");
    file("other.npz", 2048, r#"{"extractor": "inception", "weights_sha256": "0"}"#);
    refused(&["--reference", "narrow.npz", "--metrics", "fid"], &["dimension 64", "2048"]);
    refused(&["--reference", "other.npz", "--metrics", "fid"], &["protocol", "the same"]);
}

#[test]
fn weights_of_another_network_are_refused() {
    let dir = TempDir::new();
    pictures(&dir, "a", 0..2, false);
    let tensor = |name: &str, shape: &[usize]| NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: vec![0.5; shape.iter().product()],
    };
    safetensors::write(&dir.join("torchvision.safetensors"), &[tensor("fc.weight", &[1000, 2048])]).unwrap();
    safetensors::write(&dir.join("other.safetensors"), &[tensor("conv.weight", &[3, 3])]).unwrap();
    dir.write("broken.pth", "no weights");
    for (file, says) in [
        ("torchvision.safetensors", &["torchvision", "2015-12-05"][..]),
        ("other.safetensors", &["other.safetensors", "Conv2d_1a_3x3", "missing"]),
        ("broken.pth", &["broken.pth"]),
        ("missing.pth", &["missing.pth"]),
    ] {
        let args = ["evaluate", "--generated", "a", "--reference", "a", "--weights", file];
        assert_says(&fails(&dir, 1, &args), says);
    }
}

#[test]
fn what_there_are_too_few_pictures_for_is_named_and_the_rest_measured() {
    let dir = TempDir::new();
    pictures(&dir, "five", 0..5, false);
    pictures(&dir, "three", 20..23, false);
    let run = |args: &[&str]| {
        let output = evaluate(&dir, "1", args);
        assert!(output.status.success(), "{}", stderr(&output));
        json(&output)
    };
    let same = ["--generated", "five", "--reference", "five"];
    // Ten splits of five pictures: no Inception Score, everything else.
    let found = run(&same);
    assert!(found["is"]["value"].is_null(), "{found}");
    assert_says(found["is"]["reason"].as_str().unwrap(), &["splits", "5", "10"]);
    for name in ["fid", "kid", "precision", "coverage"] {
        assert!(found[name]["value"].is_number(), "{name}: {found}");
    }
    // Three pictures have no third neighbour.
    let found =
        run(&["--generated", "five", "--reference", "three", "--metrics", "prdc,kid", "--splits", "2"]);
    for name in ["precision", "recall", "density", "coverage"] {
        assert_says(found[name]["reason"].as_str().unwrap(), &["k: expected", "below 3"]);
    }
    assert!(found["kid"]["value"].is_number(), "{found}");
    // FID∞ of three pictures, whose halves have one.
    let found = run(&["--generated", "three", "--reference", "five", "--metrics", "fid,fid-infinity"]);
    assert_says(found["fid-infinity"]["reason"].as_str().unwrap(), &["at least 4"]);
    assert!(found["fid"]["value"].is_number(), "{found}");

    // Nothing is left to measure: refused, before the first picture, which would be refused too.
    dir.write("five/002.png", "no picture");
    for (args, says) in [
        (&["--metrics", "is"][..], &["splits", "number of images, 5"][..]),
        (&["--metrics", "prdc", "--k", "5"], &["k: expected", "below 5"]),
        (&["--k", "0"], &["k: expected at least 1"]),
        (&["--splits", "0"], &["splits: expected at least 1"]),
        (&["--kid-subset-size", "1"], &["kid-subset-size: expected at least 2"]),
    ] {
        let output = evaluate(&dir, "1", &[&same[..], args].concat());
        assert!(!output.status.success());
        assert_says(&stderr(&output), says);
    }
    // A picture that is left out takes the last neighbour with it, after the features.
    let found = run(&[&same[..], &["--metrics", "fid,prdc", "--k", "4", "--skip-broken"]].concat());
    assert_says(found["recall"]["reason"].as_str().unwrap(), &["below 4"]);
    assert!(found["fid"]["value"].is_number(), "{found}");
}
