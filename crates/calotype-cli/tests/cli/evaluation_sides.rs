//! What `calotype evaluate` says about its sides: protocols, names of metrics, statistics, captions, pairs.

use calotype::files::npz::{self, Array};

use super::evaluation::{evaluate, write};
use super::*;

const INCEPTION: &str = r#"{"extractor": "inception", "protocol": "tf-fid", "weights_sha256": "1"}"#;
const CLIP_MODEL: &str = r#"{"extractor": "clip", "weights_sha256": "1"}"#;
const ONNX: &str = r#"{"extractor": "onnx", "weights_sha256": "1"}"#;

/// 20 rows of 4 numbers.
fn features(dir: &TempDir, name: &str, phase: f64, protocol: &str) {
    let values = (0..20 * 4).map(|at| ((at * at) as f64 * 0.7 + phase).sin()).collect();
    write(dir, name, "features", Array::new(&[20, 4], values), protocol);
}

#[test]
fn an_unknown_protocol_is_said_and_stays_unknown() {
    let dir = TempDir::new();
    features(&dir, "known.npz", 0.0, INCEPTION);
    features(&dir, "unknown.npz", 1.0, "");
    for (generated, reference, unknown, known) in [
        ("known.npz", "unknown.npz", "reference", "generated"),
        ("unknown.npz", "known.npz", "generated", "reference"),
    ] {
        let output = succeeds(&dir, &evaluate(generated, reference, &["--metrics", "fid"]));
        assert_says(&stderr(&output), &[&format!("warning: {unknown}: the file does not say how")]);
        let protocol = &json(&output)["fid"]["protocol"];
        assert_eq!((&protocol[unknown], &protocol[known]["protocol"]), (&"unknown".into(), &"tf-fid".into()));
        assert!(protocol["protocol"].is_null(), "{protocol}");
    }
    let output = succeeds(&dir, &evaluate("unknown.npz", "unknown.npz", &["--metrics", "fid"]));
    assert_eq!(json(&output)["fid"]["protocol"]["generated"], "unknown");
    // A file knows its n: 20 is few.
    assert_says(&stderr(&output), &["generated: 20 pictures, below 10000", "reference: 20 pictures"]);
    let output = succeeds(&dir, &evaluate("known.npz", "known.npz", &["--metrics", "fid"]));
    assert!(!stderr(&output).contains("does not say how"), "{}", stderr(&output));
    assert_eq!(json(&output)["fid"]["protocol"]["extractor"], "inception");

    // A key that only one side has, in both directions.
    features(&dir, "more.npz", 2.0, &INCEPTION.replace('}', r#", "resize": "a"}"#));
    for (generated, reference) in [("more.npz", "known.npz"), ("known.npz", "more.npz")] {
        let message = fails(&dir, 1, &evaluate(generated, reference, &["--metrics", "fid"]));
        assert_says(&message, &["protocol", "the same resize", "none"]);
    }
}

#[test]
fn only_parts_of_one_protocol_merge() {
    let dir = TempDir::new();
    features(&dir, "known.npz", 0.0, INCEPTION);
    features(&dir, "clip.npz", 0.0, CLIP_MODEL);
    features(&dir, "unknown.npz", 1.0, "");
    let merge = |a: &'static str, b: &'static str| ["evaluate", "--stats-out", "m.npz", "--merge", a, b];
    for (a, b) in [("known.npz", "unknown.npz"), ("unknown.npz", "known.npz"), ("known.npz", "clip.npz")] {
        assert_says(&fails(&dir, 1, &merge(a, b)), &["protocol"]);
        assert!(!dir.join("m.npz").exists());
    }
    let output = succeeds(&dir, &merge("unknown.npz", "unknown.npz"));
    assert_says(&stderr(&output), &["warning", "protocol.json"]);
    succeeds(&dir, &merge("known.npz", "known.npz"));
    let found = json(&succeeds(&dir, &evaluate("m.npz", "known.npz", &["--metrics", "fid"])));
    assert_eq!(found["fid"]["protocol"]["protocol"], "tf-fid");
}

#[test]
fn names_come_from_the_sides() {
    let dir = TempDir::new();
    for (name, protocol) in [("inception", INCEPTION), ("clip", CLIP_MODEL), ("onnx", ONNX)] {
        features(&dir, &format!("{name}_a.npz"), 0.0, protocol);
        features(&dir, &format!("{name}_b.npz"), 1.0, protocol);
    }
    let of = |name: &str, more: &[&str]| {
        let (a, b) = (format!("{name}_a.npz"), format!("{name}_b.npz"));
        json(&succeeds(&dir, &evaluate(&a, &b, more)))
    };
    let all = ["--metrics", "fid,kid"];
    for (name, expected) in
        [("inception", ["fid", "kid"]), ("clip", ["fd-clip", "kid-clip"]), ("onnx", ["fd-onnx", "kid-onnx"])]
    {
        let found = of(name, &all);
        for metric in expected {
            assert!(found[metric]["value"].is_number(), "{metric}: {found}");
        }
        assert!(name == "inception" || (found["fid"].is_null() && found["kid"].is_null()), "{found}");
    }
    // What is measured without --metrics follows the sides too.
    assert!(of("clip", &[])["fd-clip"].is_object());
    assert!(of("inception", &[])["precision"].is_object());
    let message = fails(&dir, 2, &evaluate("onnx_a.npz", "onnx_b.npz", &["--metrics", "fd-clip"]));
    assert_says(&message, &["fd-clip", "clip"]);
}

#[test]
fn bias_needs_no_rows() {
    let dir = TempDir::new();
    features(&dir, "a.npz", 0.0, INCEPTION);
    features(&dir, "b.npz", 1.0, INCEPTION);
    for name in ["a", "b"] {
        let (from, to) = (format!("{name}.npz"), format!("{name}_stats.npz"));
        succeeds(&dir, &["evaluate", "--generated", &from, "--stats-out", &to]);
    }
    let of = |a: &str, b: &str| json(&succeeds(&dir, &evaluate(a, b, &["--metrics", "fid"])))["fid"].clone();
    let (rows, statistics) = (of("a.npz", "b.npz"), of("a_stats.npz", "b_stats.npz"));
    assert!(rows["standard_error"].is_number() && statistics["standard_error"].is_null());
    for key in ["value", "first_order_bias", "first_order_bias_generated", "first_order_bias_reference"] {
        let (a, b) = (rows[key].as_f64().unwrap(), statistics[key].as_f64().unwrap());
        assert!(a > 0.0 && (a / b - 1.0).abs() < 1e-9, "{key}: {a} {b}");
    }
}

#[test]
fn statistics_need_no_reference_and_stream() {
    let dir = with_model();
    // More pictures than are gathered before they are merged.
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "270", "--size", "32"]);
    succeeds(&dir, &["data", "render", "--out", "other", "-n", "40", "--size", "32"]);
    let alone = ["evaluate", "--generated", "data", "--weights", "model", "--json", "--stats-out"];
    let found = json(&succeeds(&dir, &[&alone[..], &["streamed.npz", "--batch", "7"]].concat()));
    assert_eq!(
        (&found["statistics"]["n"], &found["statistics"]["file"]),
        (&270.into(), &"streamed.npz".into())
    );
    assert!(found["fd-clip"].is_null() && found["is-clip"].is_null(), "{found}");

    let with_rows = ["--weights", "model", "--metrics", "fd-clip", "--stats-out", "rows.npz"];
    let rows = json(&succeeds(&dir, &evaluate("data", "other", &with_rows)));
    let stream = ["--weights", "model", "--metrics", "fd-clip", "--stream"];
    let streamed = json(&succeeds(&dir, &evaluate("data", "other", &stream)));
    let value = |report: &Value| report["fd-clip"]["value"].as_f64().unwrap();
    assert!((value(&rows) / value(&streamed) - 1.0).abs() < 1e-9, "{} {}", value(&rows), value(&streamed));
    assert!(rows["fd-clip"]["standard_error"].is_number() && streamed["fd-clip"]["standard_error"].is_null());
    let arrays = |name: &str| npz::read(&dir.join(name)).unwrap().arrays;
    let (streamed, rows) = (arrays("streamed.npz"), arrays("rows.npz"));
    for (name, expected) in &rows {
        let largest = expected.values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        for (got, expected) in streamed[name].values.iter().zip(&expected.values) {
            assert!((got - expected).abs() <= 1e-9 * largest, "{name}: {got}, with all rows {expected}");
        }
    }
}

#[test]
fn clip_score_is_of_pictures_and_their_captions() {
    let dir = with_model();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "5", "--size", "32"]);
    let command = |more: &[&'static str]| {
        let alone = ["evaluate", "--generated", "data", "--metrics", "clip-score", "--json"];
        [&alone[..], more].concat()
    };
    let measure = |more: &[&'static str]| {
        let found = json(&succeeds(&dir, &command(&[&["--weights", "model"], more].concat())));
        found["clip-score"].clone()
    };
    let score = measure(&[]);
    let number = |score: &Value, key: &str| score[key].as_f64().unwrap();
    let protocol = &score["protocol"];
    assert_eq!((&protocol["rectified"], &protocol["scale"]), (&true.into(), &100.into()));
    assert_eq!((&score["n_generated"], &protocol["extractor"]), (&5.into(), &"clip".into()));
    assert!(number(&score, "value") >= 100.0 * number(&score, "mean_cosine") - 1e-9, "rectified: {score}");

    // The caption of the picture on the same line, in whatever order.
    let metadata = dir.join("data/metadata.jsonl");
    let lines = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, lines.lines().rev().collect::<Vec<_>>().join("\n")).unwrap();
    let turned = measure(&["--batch", "2"]);
    let same = |key: &str| (number(&turned, key) - number(&score, key)).abs() < 1e-4;
    assert!(same("value") && same("standard_error") && same("mean_cosine"), "{turned} {score}");
    // One picture with every caption: some pairs must fit better than others.
    let caption = |line: &str| json_string(line, "text");
    let picture = json_string(lines.lines().next().unwrap(), "file_name");
    fs::copy(dir.join("data").join(&picture), dir.join("data/copy.png")).unwrap();
    let line = |text: &str| {
        let of = |file: &str| format!("{}\n", serde_json::json!({ "file_name": file, "text": text }));
        of(&picture) + &of("copy.png")
    };
    let cosines: Vec<f64> = lines
        .lines()
        .map(|other| {
            fs::write(&metadata, line(&caption(other))).unwrap();
            let found = measure(&[]);
            let (cosine, value) = (number(&found, "mean_cosine"), number(&found, "value"));
            assert!((value - 100.0 * cosine.max(0.0)).abs() < 1e-9, "{found}");
            cosine
        })
        .collect();
    assert!(cosines.iter().any(|cosine| (cosine - cosines[0]).abs() > 1e-4), "{cosines:?}");

    fs::write(&metadata, &lines).unwrap();
    dir.write("data/000003.png", "no picture");
    assert_says(&fails(&dir, 1, &command(&["--weights", "model"])), &["000003.png"]);
    assert_eq!(measure(&["--skip-broken", "--batch", "2"])["n_generated"], 4);
    fs::remove_file(&metadata).unwrap();
    assert_says(&fails(&dir, 1, &command(&["--weights", "model"])), &["metadata.jsonl"]);
    assert_says(&fails(&dir, 2, &command(&[])), &["--weights", "clip/"]);
}

fn json_string(line: &str, key: &str) -> String {
    serde_json::from_str::<Value>(line).unwrap()[key].as_str().unwrap().to_owned()
}

#[test]
fn pairs_have_warnings_formats_and_skip_what_is_broken() {
    let dir = TempDir::new();
    succeeds(&dir, &["data", "render", "--out", "a", "-n", "4", "--size", "32"]);
    fs::create_dir(dir.join("b")).unwrap();
    for i in 0..4 {
        let picture = image::open(dir.join(format!("a/00000{i}.png"))).unwrap();
        // One has transparency, the others are JPEG.
        match i {
            0 => picture.to_rgba8().save(dir.join("b/000000.png")).unwrap(),
            _ => picture.to_rgb8().save(dir.join(format!("b/00000{i}.jpg"))).unwrap(),
        }
    }
    let output = succeeds(&dir, &evaluate("b", "a", &["--metrics", "psnr,ssim"]));
    let found = json(&output);
    assert_eq!(found["generated_set"]["formats"], serde_json::json!({ "JPEG": 3, "PNG": 1 }));
    assert_says(&stderr(&output), &["several file formats", "file formats differ", "laid over white"]);
    assert!(!stderr(&output).contains("10000"), "{}", stderr(&output));
    for name in ["psnr", "ssim"] {
        let protocol = &found[name]["protocol"];
        assert!(protocol["calotype"].is_string(), "{protocol}");
        assert_says(protocol["pictures"].as_str().unwrap(), &["transparency", "EXIF"]);
    }

    dir.write("b/000002.jpg", "no picture");
    assert_says(&fails(&dir, 1, &evaluate("b", "a", &["--metrics", "psnr"])), &["000002.jpg"]);
    let skip = ["--metrics", "psnr", "--skip-broken", "--batch", "3"];
    let output = succeeds(&dir, &evaluate("b", "a", &skip));
    let found = json(&output);
    assert_eq!(found["psnr"]["n_generated"], 3);
    assert_eq!(found["generated_set"]["broken"], serde_json::json!(["b/000002.jpg"]));
    assert_says(&stderr(&output), &["1 pictures that cannot be read"]);
}
