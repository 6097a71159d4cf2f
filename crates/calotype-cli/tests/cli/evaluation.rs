//! `calotype evaluate` on files of features and statistics, and on folders with something wrong in them.

use calotype::files::npz::{self, Array, Npz};

use super::*;

/// A file of features: two clusters, or one of them for `collapsed`.
fn features(dir: &TempDir, name: &str, n: usize, collapsed: bool, text: &str) {
    let value = |i: usize, j: usize| {
        let cluster = if collapsed || i.is_multiple_of(2) { 0.0 } else { 50.0 };
        cluster + ((i * 31 + j * 17) as f64 * 0.7).sin()
    };
    let values = (0..n * 4).map(|at| value(at / 4, at % 4)).collect();
    write(dir, name, "features", Array::new(&[n, 4], values), text);
}

pub fn write(dir: &TempDir, name: &str, key: &str, array: Array, text: &str) {
    let mut npz = Npz::default();
    npz.arrays.insert(key.into(), array);
    if !text.is_empty() {
        npz.texts.insert("protocol.json".into(), text.into());
    }
    npz::write(&dir.join(name), &npz).unwrap();
}

pub fn evaluate<'a>(generated: &'a str, reference: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["evaluate", "--generated", generated, "--reference", reference, "--json"], more].concat()
}

#[test]
fn precision_and_recall_are_not_swapped() {
    let dir = TempDir::new();
    features(&dir, "all.npz", 60, false, "");
    features(&dir, "collapsed.npz", 60, true, "");
    let found = json(&succeeds(&dir, &evaluate("collapsed.npz", "all.npz", &["--metrics", "fid,kid,prdc"])));
    let value = |name: &str| found[name]["value"].as_f64().unwrap();
    assert!(value("precision") > 0.9 && value("recall") <= 0.5, "{found}");
    assert!(value("fid") > 100.0 && found["fid"]["standard_error"].as_f64().unwrap() > 0.0, "{found}");
    assert_eq!(found["kid"]["protocol"]["subset_size"], 60);
    // Two clusters and a sine and cosine of i: three directions.
    assert_eq!((&found["fid"]["n_generated"], &found["fid"]["rank_reference"]), (&60.into(), &3.into()));
}

#[test]
fn parts_merge_into_the_statistics_of_the_whole() {
    let dir = TempDir::new();
    let whole: Vec<f64> = (0..90 * 3).map(|at| (at as f64 * 1.3).sin() * (1 + at % 3) as f64).collect();
    for (name, rows) in [("whole", 0..90), ("a", 0..20), ("b", 20..31), ("c", 31..90)] {
        let values = whole[rows.start * 3..rows.end * 3].to_vec();
        write(&dir, &format!("{name}.npz"), "features", Array::new(&[rows.len(), 3], values), "");
        let (from, to) = (format!("{name}.npz"), format!("{name}_stats.npz"));
        let found = json(&succeeds(&dir, &["evaluate", "--generated", &from, "--json", "--stats-out", &to]));
        assert!(found["statistics"]["n"].is_number() && found["fid"].is_null(), "{found}");
    }
    let parts = ["a_stats.npz", "b_stats.npz", "c_stats.npz"];
    let merge = [&["evaluate", "--stats-out", "merged.npz", "--json", "--merge"], parts.as_slice()].concat();
    assert_eq!(json(&succeeds(&dir, &merge))["n"], 90);
    let (merged, expected) = (npz::read(&dir.join("merged.npz")), npz::read(&dir.join("whole_stats.npz")));
    for (name, expected) in expected.unwrap().arrays {
        for (got, expected) in merged.as_ref().unwrap().arrays[&name].values.iter().zip(expected.values) {
            assert!((got - expected).abs() < 1e-12, "{name}: {got}, of the whole {expected}");
        }
    }
    let found = json(&succeeds(&dir, &evaluate("merged.npz", "whole.npz", &["--metrics", "fid"])));
    assert!(found["fid"]["value"].as_f64().unwrap().abs() < 1e-10, "{found}");
    // Statistics know no neighbours.
    let message = fails(&dir, 1, &evaluate("merged.npz", "whole.npz", &["--metrics", "prdc"]));
    assert_says(&message, &["prdc", "statistics"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let dir = TempDir::new();
    features(&dir, "good.npz", 20, false, r#"{"protocol": "tf-fid", "resize": "a"}"#);
    features(&dir, "other.npz", 20, false, r#"{"protocol": "clean", "resize": "a"}"#);
    write(&dir, "nan.npz", "features", Array::new(&[3, 4], vec![f64::NAN; 12]), "");
    write(&dir, "wide.npz", "features", Array::new(&[3, 5], vec![0.5; 15]), "");
    write(&dir, "one.npz", "features", Array::new(&[1, 4], vec![0.5; 4]), "");
    write(&dir, "strange.npz", "arr_0", Array::new(&[2], vec![0.5; 2]), "");
    dir.write("broken.npz", "no archive");
    for (generated, says) in [
        ("other.npz", &["protocol", "tf-fid", "clean"][..]),
        ("nan.npz", &["finite"]),
        ("wide.npz", &["dimension", "5"]),
        ("one.npz", &["at least 2"]),
        ("strange.npz", &["strange.npz", "arr_0"]),
        ("broken.npz", &["broken.npz", "NumPy"]),
        ("missing.npz", &["missing.npz"]),
    ] {
        assert_says(&fails(&dir, 1, &evaluate(generated, "good.npz", &["--metrics", "fid"])), says);
    }
    let alone = ["evaluate", "--generated", "good.npz", "--metrics", "fid"];
    assert_says(&fails(&dir, 1, &alone), &["--reference"]);
    assert_says(&fails(&dir, 2, &evaluate("pictures", "good.npz", &[])), &["--weights", "2015-12-05"]);
    fails(&dir, 2, &["evaluate", "--metrics", "fid"]);
}

#[test]
fn broken_pictures_are_named_and_skipped_only_on_request() {
    let dir = with_model();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "4", "--size", "32"]);
    fs::create_dir(dir.join("empty")).unwrap();
    let with_clip = ["--weights", "model", "--metrics", "fd-clip"];
    assert_says(&fails(&dir, 1, &evaluate("empty", "data", &with_clip)), &["empty", "0 PNG"]);

    fs::create_dir(dir.join("pictures")).unwrap();
    for i in 0..3 {
        fs::copy(dir.join(format!("data/00000{i}.png")), dir.join(format!("pictures/{i}.png"))).unwrap();
    }
    dir.write("pictures/9.png", "no picture");
    assert_says(&fails(&dir, 1, &evaluate("pictures", "data", &with_clip)), &["pictures/9.png"]);
    let skip = evaluate("pictures", "data", &[&with_clip[..], &["--skip-broken"]].concat());
    let output = succeeds(&dir, &skip);
    let found = json(&output);
    assert_eq!(found["generated_set"]["broken"], serde_json::json!(["pictures/9.png"]));
    assert_eq!(found["fd-clip"]["n_generated"], 3);
    assert_says(&stderr(&output), &["warning: generated: 1 pictures that cannot be read", "below 10000"]);

    // Batches change nothing.
    let of =
        |batch| json(&succeeds(&dir, &[&skip[..], &["--batch", batch]].concat()))["fd-clip"]["value"].clone();
    assert_eq!(of("1"), of("3"));
}

#[test]
fn pairs_are_matched_by_name() {
    let dir = TempDir::new();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "3", "--size", "32"]);
    let found = json(&succeeds(&dir, &evaluate("data", "data", &["--metrics", "ssim"])));
    assert_eq!(found["ssim"]["value"], 1.0);
    // What a paired metric lacks: weights, and pictures that five scales fit into.
    let message = fails(&dir, 2, &evaluate("data", "data", &["--metrics", "lpips"]));
    assert_says(&message, &["--lpips-weights", "alexnet"]);
    assert_says(&fails(&dir, 1, &evaluate("data", "data", &["--metrics", "ms-ssim"])), &["161"]);
    succeeds(&dir, &["data", "render", "--out", "more", "-n", "4", "--size", "32"]);
    assert_says(&fails(&dir, 1, &evaluate("more", "data", &["--metrics", "psnr"])), &["same file names"]);
}

#[test]
fn what_lies_in_the_place_of_a_picture_is_said() {
    let dir = with_model();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n";
    // The header of a BMP of 65 535 x 65 535 pixels.
    let mut huge = [b"BM".as_slice(), &[0; 8], &54_u32.to_le_bytes(), &40_u32.to_le_bytes()].concat();
    huge.extend([65_535_u32.to_le_bytes(), 65_535_u32.to_le_bytes(), [1, 0, 24, 0]].concat());
    huge.extend([0; 24]);
    for (folder, file, says) in [
        ("pointers", pointer.as_bytes(), ["Git LFS pointer", "hint: `git lfs pull`"]),
        ("huge", &huge, ["65535 x 65535 pixels", "at most 268435456"]),
    ] {
        for name in ["0.png", "1.png"] {
            dir.write(&format!("{folder}/{name}"), file);
        }
        let args = evaluate(folder, folder, &["--weights", "model", "--metrics", "fd-clip"]);
        assert_says(&fails(&dir, 1, &args), &says);
    }
}

#[test]
fn equal_sets_have_no_distance() {
    let dir = with_model();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "6", "--size", "32"]);
    let evaluate = [
        "evaluate",
        "--generated",
        "data",
        "--reference",
        "data",
        "--weights",
        "model",
        "--metrics",
        "fd-clip",
        "--json",
    ];
    let evaluated = json(&succeeds(&dir, &evaluate));
    assert!(evaluated["fd-clip"]["value"].as_f64().unwrap().abs() < 1e-6, "{evaluated}");
    assert!(evaluated.get("is-clip").is_none());
}
