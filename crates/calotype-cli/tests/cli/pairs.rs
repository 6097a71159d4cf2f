//! `calotype evaluate` on pairs of pictures: equal ones, some that are equal, some of another size; and on files of
//! numbers in any order of bytes and indices.

use super::evaluation::evaluate;
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
