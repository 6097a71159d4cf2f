//! `calotype evaluate --extractor FILE.onnx`, and with it what depends on pictures of any size.

use super::evaluation::evaluate;
use super::*;

#[test]
fn an_onnx_file_gives_distances_under_its_own_name() {
    let dir = TempDir::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../calotype/tests/golden/dinov2");
    let onnx = format!("{golden}.onnx");
    for (side, phase) in [("a", 0), ("b", 3)] {
        std::fs::create_dir(dir.join(side)).unwrap();
        for i in 0..6 {
            let picture = image::RgbImage::from_fn(40, 36, |x, y| {
                image::Rgb([(x * (i + 1) + phase) as u8, (y * 5 + i * 40) as u8, (x + y * i) as u8])
            });
            picture.save(dir.join(format!("{side}/{i}.png"))).unwrap();
        }
    }
    let command =
        evaluate("a", "b", &["--extractor", &onnx, "--batch", "4", "--k", "2", "--kid-subsets", "3"]);
    let found = json(&succeeds(&dir, &command));
    assert!(found["fd-onnx"]["value"].as_f64().unwrap() > 0.0 && found["kid-onnx"].is_object(), "{found}");
    let protocol = &found["fd-onnx"]["protocol"];
    assert_eq!((&protocol["extractor"], &protocol["features"]), (&"onnx".into(), &16.into()));
    assert!(found["precision"].is_object() && found["fid"].is_null(), "{found}");
    let message = fails(&dir, 1, &[command.as_slice(), &["--metrics", "is"]].concat());
    assert_says(&message, &["class"]);
    let message = fails(&dir, 1, &evaluate("a", "b", &["--extractor", "missing.onnx"]));
    assert_says(&message, &["missing.toml"]);
    let message = fails(&dir, 2, &evaluate("a", "b", &["--extractor", "resnet"]));
    assert_says(&message, &[".onnx"]);
}

/// A model that gives the pixels as they are, `[1, 3 · side · side]`, and its preprocessing: features as wide
/// as one likes, for nothing. The bytes are those of ONNX's protocol buffers.
fn pixels(dir: &TempDir, side: u64) {
    let varint = |mut v: u64| {
        let mut bytes = vec![];
        while v >= 0x80 {
            bytes.push(v as u8 | 0x80);
            v >>= 7;
        }
        bytes.push(v as u8);
        bytes
    };
    let number = |field: u64, value: u64| [varint(field << 3), varint(value)].concat();
    let bytes = |field: u64, value: &[u8]| {
        [varint((field << 3) | 2), varint(value.len() as u64), value.to_vec()].concat()
    };
    let value_info = |name: &str, shape: &[u64]| {
        let dims: Vec<u8> = shape.iter().flat_map(|&d| bytes(1, &number(1, d))).collect();
        let tensor_type = [number(1, 1), bytes(2, &dims)].concat(); // f32
        [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor_type))].concat()
    };
    let node = [bytes(1, b"x"), bytes(2, b"y"), bytes(4, b"Flatten")].concat();
    let graph = [
        bytes(1, &node),
        bytes(2, b"pixels"),
        bytes(11, &value_info("x", &[1, 3, side, side])),
        bytes(12, &value_info("y", &[1, 3 * side * side])),
    ]
    .concat();
    let model = [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 13))].concat(); // IR 8, operators 13
    dir.write("pixels.onnx", model);
    let preprocessing = format!(
        "size = {side}\nresize = \"torch-bilinear\"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n"
    );
    dir.write("pixels.toml", preprocessing);
}

const PIXELS: [&str; 2] = ["--extractor", "pixels.onnx"];

#[test]
fn what_makes_numbers_incomparable_is_warned_of() {
    let dir = TempDir::new();
    pixels(&dir, 4);
    fs::create_dir_all(dir.join("a/folder")).unwrap();
    fs::create_dir(dir.join("b")).unwrap();
    let picture = |p: u8| image::RgbaImage::from_fn(8, 8, |x, y| image::Rgba([x as u8 * p, y as u8, p, 9]));
    let wide = image::RgbImage::from_fn(9, 8, |x, y| image::Rgb([x as u8, y as u8, 7]));
    image::DynamicImage::from(picture(3)).to_luma8().save(dir.join("a/grey.png")).unwrap();
    picture(5).save(dir.join("a/transparent.png")).unwrap();
    wide.save(dir.join("a/wide.jpg")).unwrap();
    image::DynamicImage::from(picture(9)).to_rgb16().save(dir.join("a/deep.png")).unwrap();
    dir.write("a/notes.txt", "no picture");
    for p in 0..3 {
        let rgb = image::DynamicImage::from(picture(40 * p + 1)).to_rgb8();
        rgb.save(dir.join(format!("b/{p}.jpg"))).unwrap();
    }
    let output = succeeds(&dir, &evaluate("a", "b", &[&PIXELS[..], &["--metrics", "fid"]].concat()));
    let expected = [
        "generated: 4 pictures, below 10000",
        "reference: 3 pictures, below 10000",
        "generated: several file formats: 1 JPEG, 3 PNG",
        "generated: 2 different sizes",
        "generated: 1 pictures without colour",
        "generated: 1 pictures with transparency, which is dropped",
        "generated: 1 pictures of more than 8 bits",
        "generated: 2 other files or folders",
        "file formats differ: 1 JPEG, 3 PNG against 3 JPEG",
        "the sides have pictures of different sizes",
    ];
    assert_says(&stderr(&output), &expected);
    let warnings = json(&output)["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), expected.len(), "{warnings}");
}

/// The largest memory that a run held, in KiB.
#[cfg(target_os = "linux")]
fn peak(dir: &TempDir, args: &[&str]) -> usize {
    let mut child = command(dir, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success(), "{args:?}");
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn streamed_statistics_take_no_more_memory_for_more_pictures() {
    let dir = TempDir::new();
    pixels(&dir, 20); // 1200 numbers
    for (folder, n) in [("few", 600_u32), ("many", 9000)] {
        fs::create_dir(dir.join(folder)).unwrap();
        for i in 0..n {
            let level = |x: u32| (x * (i % 97 + 3) + i / 7) as u8;
            let picture =
                image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([level(x), level(y), level(x + y)]));
            picture.save(dir.join(format!("{folder}/{i}.png"))).unwrap();
        }
    }
    let of = |folder: &str| {
        peak(&dir, &[&["evaluate", "--generated", folder, "--stats-out", "s.npz"], &PIXELS[..]].concat())
    };
    let (few, many) = (of("few"), of("many"));
    // 8400 more rows would be 77 MiB in f64 and 38 MiB in f32. How many matrices of 1200 x 1200, 11 MiB each, are seen at
    // once is chance: a run takes a tenth of a second.
    assert!(many < few + 24 * 1024, "{few} KiB for 600 pictures, {many} KiB for 9000");
}
