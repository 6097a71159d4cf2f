//! `calotype evaluate` on pairs of pictures: equal ones, some that are equal, some of another size; and on files of
//! numbers in any order of bytes and indices.

use calotype::files::npz::Array;

use super::evaluation::{evaluate, write};
use super::*;

/// Pictures of so many pixels, one shade each.
fn shades(dir: &TempDir, folder: &str, pictures: &[(u32, u32, u8)]) {
    fs::create_dir(dir.join(folder)).unwrap();
    for (i, &(width, height, shade)) in pictures.iter().enumerate() {
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([shade; 3]));
        picture.save(dir.join(format!("{folder}/{i}.png"))).unwrap();
    }
}

fn text(dir: &TempDir, generated: &str, reference: &str) -> String {
    let args = ["evaluate", "--generated", generated, "--reference", reference, "--metrics", "psnr,ssim"];
    String::from_utf8(succeeds(dir, &args).stdout).unwrap()
}

#[test]
fn equal_pictures_have_an_infinite_psnr_in_text_and_json() {
    let dir = TempDir::new();
    shades(&dir, "a", &[(32, 32, 10), (32, 32, 20), (32, 32, 30)]);
    assert_says(&text(&dir, "a", "a"), &["psnr  inf", "all 3 pairs are equal", "ssim  1.0000"]);
    let found = json(&succeeds(&dir, &evaluate("a", "a", &["--metrics", "psnr"])));
    assert_eq!((&found["psnr"]["value"], &found["psnr"]["equal_pairs"]), (&"Infinity".into(), &3.into()));
    assert!(found["psnr"]["value_of_different_pairs"].is_null(), "{found}");
}

#[test]
fn some_equal_pictures_are_counted_beside_the_others() {
    let dir = TempDir::new();
    shades(&dir, "a", &[(32, 32, 10), (32, 32, 20), (32, 32, 30)]);
    // One level everywhere: 20 log10(255) = 48.1308 dB.
    shades(&dir, "one", &[(32, 32, 10), (32, 32, 21), (32, 32, 30)]);
    shades(&dir, "two", &[(32, 32, 11), (32, 32, 20), (32, 32, 31)]);
    let says = ["psnr  inf", "2 of 3 pairs are equal; 48.1308 for the others"];
    assert_says(&text(&dir, "one", "a"), &says);
    let found = json(&succeeds(&dir, &evaluate("two", "a", &["--metrics", "psnr"])));
    let psnr = &found["psnr"];
    assert_eq!((&psnr["value"], &psnr["equal_pairs"]), (&"Infinity".into(), &1.into()));
    assert!((psnr["value_of_different_pairs"].as_f64().unwrap() - 48.1308).abs() < 1e-4, "{psnr}");
    assert_eq!(psnr["standard_error_of_different_pairs"], 0.0);
    // Where no pair is equal, nothing is said about it.
    shades(&dir, "all", &[(32, 32, 11), (32, 32, 21), (32, 32, 31)]);
    let found = json(&succeeds(&dir, &evaluate("all", "a", &["--metrics", "psnr"])));
    assert!(found["psnr"]["value"].is_f64() && found["psnr"]["equal_pairs"].is_null(), "{found}");
}

#[test]
fn pictures_of_different_size_are_named() {
    let dir = TempDir::new();
    shades(&dir, "a", &[(32, 32, 10), (32, 32, 20), (32, 32, 30)]);
    shades(&dir, "b", &[(32, 32, 10), (40, 32, 20), (32, 32, 30)]);
    for metric in ["psnr", "ssim", "ms-ssim"] {
        let message = fails(&dir, 1, &evaluate("a", "b", &["--metrics", metric, "--batch", "2"]));
        assert_says(&message, &["`a/1.png` and `b/1.png`", "40 x 32", "32 x 32"]);
    }
    // Too small for a metric, each of the same size.
    let message = fails(&dir, 1, &evaluate("a", "a", &["--metrics", "ms-ssim"]));
    assert_says(&message, &["`a/0.png` and `a/0.png`", "161"]);
}

/// An array as `numpy.save` writes it.
fn npy(descr: &str, columns_first: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if columns_first { "True" } else { "False" };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes(), data].concat()
}

/// A zip of these files, not compressed.
fn archive(path: &Path, files: &[(&str, Vec<u8>)]) {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let (crc, at, length) = (crc32(data), all.len() as u32, data.len() as u32);
        let mut entry = [20_u16, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
        entry.extend([crc, length, length].map(u32::to_le_bytes).concat());
        entry.extend((name.len() as u32).to_le_bytes());
        all.extend([b"PK\x03\x04", &entry[..], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &entry[..], &[0; 10], &at.to_le_bytes()].concat());
        directory.extend(name.as_bytes());
    }
    let (start, length, count) = (all.len() as u32, directory.len() as u32, files.len() as u16);
    all.extend(directory);
    all.extend([b"PK\x05\x06\0\0\0\0", &[count, count].map(u16::to_le_bytes).concat()[..]].concat());
    all.extend([length, start].map(u32::to_le_bytes).concat());
    all.extend([0; 2]);
    fs::write(path, all).unwrap();
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn statistics_and_features_of_any_order_are_the_same() {
    let dir = TempDir::new();
    let (mu, sigma) = ([1.0_f64, 2.0], [2.0_f64, 0.5, 0.5, 1.0]);
    let little = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let big = |values: &[f64]| values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
    let statistics = |name: &str, descr: &str, columns_first: bool, bytes: &dyn Fn(&[f64]) -> Vec<u8>| {
        let files = [
            ("mu.npy", npy(descr, false, "(2,)", &bytes(&mu))),
            ("sigma.npy", npy(descr, columns_first, "(2, 2)", &bytes(&sigma))),
        ];
        archive(&dir.join(name), &files);
    };
    statistics("plain.npz", "<f8", false, &little);
    statistics("fortran.npz", "<f8", true, &little);
    statistics("big.npz", ">f8", false, &big);
    statistics("both.npz", ">f8", true, &big);
    // Features: three pictures of two numbers, column by column and big-endian.
    let rows = [1.0, 2.0, 3.0, 5.0, 4.0, 9.0];
    let columns = [1.0, 3.0, 4.0, 2.0, 5.0, 9.0];
    archive(&dir.join("rows.npz"), &[("features.npy", npy("<f8", false, "(3, 2)", &little(&rows)))]);
    archive(&dir.join("columns.npz"), &[("features.npy", npy(">f8", true, "(3, 2)", &big(&columns)))]);
    for (one, other) in [
        ("plain.npz", "plain.npz"),
        ("plain.npz", "fortran.npz"),
        ("plain.npz", "big.npz"),
        ("both.npz", "plain.npz"),
        ("columns.npz", "rows.npz"),
    ] {
        let found = json(&succeeds(&dir, &evaluate(one, other, &["--metrics", "fid"])));
        assert!(found["fid"]["value"].as_f64().unwrap().abs() < 1e-9, "{one} {other}: {found}");
    }
    archive(&dir.join("text.npz"), &[("features.npy", npy("<U2", false, "(1,)", &[0; 8]))]);
    let message = fails(&dir, 1, &evaluate("text.npz", "rows.npz", &["--metrics", "fid"]));
    assert_says(&message, &["text.npz", "`features`", "`<U2` is not a number"]);
}

/// Text and JSON of a comparison of which some metrics cannot be computed.
fn missing(dir: &TempDir, args: &[&str]) -> (String, Value) {
    let text = String::from_utf8(succeeds(dir, args).stdout).unwrap();
    (text, json(&succeeds(dir, &[args, &["--json"]].concat())))
}

fn assert_missing((text, found): &(String, Value), name: &str, reason: &str) {
    assert!(found[name]["value"].is_null(), "{name}: {found}");
    assert_says(found[name]["reason"].as_str().unwrap(), &[reason]);
    let line = text.lines().find(|line| line.starts_with(&format!("{name}  "))).unwrap();
    assert_says(line, &["not measured: ", reason]);
}

#[test]
fn a_metric_of_pairs_that_cannot_be_computed_says_why() {
    let dir = TempDir::new();
    shades(&dir, "a", &[(32, 32, 10), (32, 32, 20), (32, 32, 30)]);
    shades(&dir, "b", &[(32, 32, 11), (32, 32, 20), (32, 32, 30)]);
    shades(&dir, "tiny", &[(8, 8, 11), (8, 8, 20), (8, 8, 30)]);
    let asked = |generated: &'static str, reference: &'static str, metrics: &'static str| {
        ["evaluate", "--generated", generated, "--reference", reference, "--metrics", metrics]
    };
    // Five scales need 161 pixels a side, one window of SSIM 11.
    let found = missing(&dir, &asked("b", "a", "psnr,ms-ssim,ssim"));
    assert_missing(&found, "ms-ssim", "161");
    assert!(found.1["psnr"]["equal_pairs"] == 2 && found.1["ssim"]["value"].is_f64(), "{}", found.1);
    let found = missing(&dir, &asked("tiny", "tiny", "ssim,psnr"));
    assert_missing(&found, "ssim", "11");
    assert_eq!(found.1["psnr"]["value"], "Infinity");
    // Nothing is left: the first reason is the error.
    assert_says(&fails(&dir, 1, &asked("a", "a", "ms-ssim")), &["161"]);
    assert_says(&fails(&dir, 1, &asked("tiny", "a", "psnr,ssim")), &["`tiny/0.png` and `a/0.png`", "8 x 8"]);
}

#[test]
fn a_metric_of_statistics_that_cannot_be_computed_says_why() {
    let dir = TempDir::new();
    let value = |at: usize| (at as f64 * 1.3).sin();
    for (name, n) in [("a", 20), ("b", 30)] {
        write(
            &dir,
            &format!("{name}.npz"),
            "features",
            Array::new(&[n, 3], (0..n * 3).map(value).collect()),
            "",
        );
        let (from, to) = (format!("{name}.npz"), format!("{name}_stats.npz"));
        succeeds(&dir, &["evaluate", "--generated", &from, "--stats-out", &to]);
    }
    let asked = |generated: &'static str, metrics: &'static str| {
        ["evaluate", "--generated", generated, "--reference", "b.npz", "--metrics", metrics]
    };
    let found = missing(&dir, &asked("a_stats.npz", "fid,kid,prdc,cmmd,fid-infinity,is,psnr"));
    for name in ["kid", "precision", "recall", "density", "coverage", "cmmd", "fid-infinity"] {
        assert_missing(&found, name, "statistics (mu and sigma) only");
    }
    assert_missing(&found, "is", "features without classes");
    assert_missing(&found, "psnr", "two folders of pictures");
    assert!(found.1["fid"]["value"].is_f64() && found.1["fid"]["reason"].is_null(), "{}", found.1);
    let found = missing(&dir, &asked("a.npz", "is,kid"));
    assert_missing(&found, "is", "features without classes");
    assert!(found.1["kid"]["value"].is_f64());
    // That a side was forgotten, or another extractor, is refused as a whole.
    let alone = ["evaluate", "--generated", "a.npz", "--metrics", "fid,is"];
    assert_says(&fails(&dir, 1, &alone), &["--reference", "fid"]);
    assert_says(&fails(&dir, 2, &asked("a.npz", "kid,fd-clip")), &["--extractor"]);
    // Without --metrics they are those that can be had.
    let found = missing(&dir, &["evaluate", "--generated", "a_stats.npz", "--reference", "b.npz"]);
    assert!(found.1["fid"]["value"].is_f64() && found.1["kid"].is_null(), "{}", found.1);
}

#[test]
fn metrics_of_sets_stand_where_those_of_pairs_and_captions_cannot() {
    let dir = with_model();
    shades(&dir, "a", &[(32, 32, 10), (32, 32, 90), (32, 32, 200)]);
    shades(&dir, "b", &[(32, 32, 11), (32, 32, 20), (32, 32, 30), (32, 32, 90)]);
    let asked = [
        "evaluate",
        "--generated",
        "a",
        "--reference",
        "b",
        "--weights",
        "model",
        "--metrics",
        "fd-clip,psnr,clip-score",
    ];
    let found = missing(&dir, &asked);
    assert_missing(&found, "psnr", "the same file names on both sides (3 and 4 files)");
    assert_missing(&found, "clip-score", "one for each picture (metadata.jsonl");
    assert!(found.1["fd-clip"]["value"].is_f64(), "{}", found.1);
    // A broken picture is no matter of one metric.
    dir.write("a/0.png", "no picture");
    assert_says(&fails(&dir, 1, &asked), &["a/0.png"]);
}

/// The first frame of a GIF, BMP and TIFF, as training reads them; what is of other kinds is named.
#[test]
fn pictures_of_every_kind_are_compared() {
    let dir = with_model();
    let all = [(32, 32, 10), (32, 32, 90), (32, 32, 200)];
    shades(&dir, "png", &all);
    for folder in ["other", "avif"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    for (i, ending) in ["gif", "bmp", "tiff"].iter().enumerate() {
        image::open(dir.join(format!("png/{i}.png")))
            .unwrap()
            .save(dir.join(format!("other/{i}.{ending}")))
            .unwrap();
    }
    // A second frame, which is not looked at.
    let mut animation =
        image::codecs::gif::GifEncoder::new(fs::File::create(dir.join("other/0.gif")).unwrap());
    for shade in [10, 250] {
        let frame = image::RgbaImage::from_pixel(32, 32, image::Rgba([shade, shade, shade, 255]));
        animation.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(animation);
    dir.write("other/x.avif", "whatever");
    dir.write("other/notes.txt", "whatever");
    let metrics = ["--weights", "model", "--metrics", "psnr,fd-clip"];
    let output = succeeds(&dir, &evaluate("other", "png", &metrics));
    let found = json(&output);
    assert_eq!((&found["psnr"]["value"], &found["psnr"]["equal_pairs"]), (&"Infinity".into(), &3.into()));
    assert!(found["fd-clip"]["value"].as_f64().unwrap().abs() < 1e-6, "{found}");
    let set = &found["generated_set"];
    assert_eq!(set["formats"], serde_json::json!({ "GIF": 1, "BMP": 1, "TIFF": 1 }));
    assert_eq!((&set["leftovers"], &set["unread"]), (&2.into(), &serde_json::json!(["other/x.avif"])));
    let says = ["1 pictures of other kinds than PNG", "`other/x.avif`", "1 other files or folders"];
    assert_says(&stderr(&output), &says);
    dir.write("avif/a.avif", "whatever");
    dir.write("avif/b.heic", "whatever");
    let message = fails(&dir, 1, &evaluate("avif", "png", &metrics));
    assert_says(&message, &["0 PNG", "of other kinds there are 2", "`avif/a.avif`"]);
    // By its content, whatever its name.
    dir.write("other/0.gif", b"\0\0\0\x1cftypavif\0\0\0\0mif1avif");
    assert_says(
        &fails(&dir, 1, &evaluate("other", "png", &["--metrics", "psnr"])),
        &["other/0.gif", "kind AVIF", "magick"],
    );
}

#[test]
fn what_is_no_archive_is_refused_by_its_first_bytes() {
    let dir = TempDir::new();
    let no_zip = "it does not begin as a zip archive does";
    for (name, bytes, reason) in [
        ("zeros.npz", &[0; 4096][..], no_zip),
        ("empty.npz", b"", no_zip),
        ("page.npz", b"<!doctype html>", "it is a web page"),
        (
            "pointer.npz",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "Git LFS pointer",
        ),
    ] {
        dir.write(name, bytes);
        let message = fails(&dir, 1, &evaluate(name, name, &["--metrics", "fid"]));
        assert_says(&message, &[name, "NumPy archive", reason]);
    }
}
