use std::borrow::Cow;
use std::io::Cursor;
use std::sync::Mutex;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::duplicates::{Fingerprint, Groups};
use super::*;
use crate::error::Error;

/// Pictures in memory; where there are no bytes, the file cannot be read.
struct Memory(Vec<(String, Vec<u8>, Vec<String>)>);

impl Collection for Memory {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, i: usize) -> String {
        self.0[i].0.clone()
    }

    fn captions(&self, i: usize) -> &[String] {
        &self.0[i].2
    }

    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match self.0[i].1.as_slice() {
            [] => Err(Error::io("read", self.name(i))(std::io::ErrorKind::NotFound.into())),
            bytes => Ok(Cow::Borrowed(bytes)),
        }
    }
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A picture with soft structure, another for each `seed`.
fn scene(seed: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let wave = |k: u32| {
            let (fu, fv) = ((seed * 7 + k * 3) % 11 + 1, (seed * 5 + k) % 7 + 1);
            128.0 + 100.0 * (fu as f32 * u + fv as f32 * v + (seed * k) as f32).sin()
        };
        Rgb([wave(1) as u8, wave(2) as u8, wave(3) as u8])
    })
}

/// 10 pictures with everything that is counted.
fn planted() -> Memory {
    let png = |picture: RgbImage| encoded(picture, ImageFormat::Png);
    let jpeg = |picture: RgbImage| encoded(picture, ImageFormat::Jpeg);
    let darker = |mut picture: RgbImage| {
        picture.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|c| (f32::from(c) * 0.8) as u8));
        picture
    };
    let long = vec!["word"; 61].join(" ");
    let pictures: [(&str, Vec<u8>, &[&str]); 10] = [
        ("a", png(scene(1, 64, 48)), &["a cat"]),
        ("b", jpeg(scene(2, 48, 64)), &["a dog", &long]),
        ("a again", png(scene(1, 64, 48)), &["a cat"]),
        ("a smaller", jpeg(scene(1, 40, 30)), &["a cat"]),
        ("b darker", png(darker(scene(2, 96, 128))), &[]),
        (
            "grey",
            encoded(DynamicImage::ImageRgb8(scene(3, 65, 20)).into_luma8(), ImageFormat::WebP),
            &["a cat"],
        ),
        (
            "deep",
            encoded(DynamicImage::ImageRgb8(scene(4, 10, 40)).into_rgba16(), ImageFormat::Png),
            &["a cat"],
        ),
        ("half", png(scene(5, 64, 48))[..500].to_vec(), &["x"]),
        ("gone", Vec::new(), &["a cat"]),
        ("text", b"not a picture".to_vec(), &["a cat"]),
    ];
    let owned = |captions: &[&str]| captions.iter().map(ToString::to_string).collect();
    Memory(pictures.map(|(name, bytes, captions)| (name.to_owned(), bytes, owned(captions))).into())
}

#[test]
fn finds_everything_that_was_planted() {
    let found = inspect(&planted(), 2, &|_| ());
    assert_eq!(found.count, 10);
    let size = |value: &str, count| Counted { value: value.into(), count };
    assert_eq!(found.sizes.most_frequent[..2], [size("64x48", 2), size("10x40", 1)]);
    assert_eq!((found.sizes.most_frequent.len(), found.sizes.others), (6, 0));
    assert_eq!(found.sizes.shorter_side, Sides { min: 10, median: 48.0, max: 96 });
    assert_eq!(found.sizes.longer_side, Sides { min: 40, median: 64.0, max: 128 });
    let ratios = found.aspect_ratios.iter().filter(|ratio| ratio.count > 0);
    let ratios: Vec<String> = ratios.map(|ratio| format!("{} {}", ratio.ratio, ratio.count)).collect();
    assert_eq!(ratios, ["below 1:3 1", "3:4 2", "4:3 3", "above 3:1 1"]);
    // A WebP file knows no grey.
    let expected = Kinds { jpeg: 2, png: 4, webp: 1, rgb: 7, alpha: 1, sixteen_bit: 1, ..Kinds::default() };
    assert_eq!(found.kinds, expected);
    assert_eq!(found.duplicates, [["a", "a again"]]);
    assert_eq!(found.near_duplicates, [["a", "a smaller"], ["b", "b darker"]]);
    let unreadable: Vec<&str> = found.unreadable.iter().map(|picture| picture.name.as_str()).collect();
    assert_eq!(unreadable, ["half", "gone", "text"]);
    assert!(found.unreadable.iter().all(|picture| picture.reason.contains(&format!("`{}`", picture.name))));
    assert_eq!(found.smaller_than(30), ["grey", "deep"]);
}

#[test]
fn tells_kinds_apart() {
    use image::ColorType::{L8, L16, La16, Rgba8};
    let info = |color, rotated| PictureInfo { width: 1, height: 1, format: ImageFormat::Png, color, rotated };
    let found = kinds(&[info(L8, true), info(La16, false), info(Rgba8, true), info(L16, false)]);
    let expected =
        Kinds { png: 4, rgb: 1, grey: 3, alpha: 2, sixteen_bit: 2, rotated: 2, ..Kinds::default() };
    assert_eq!(found, expected);
}

#[test]
fn counts_captions() {
    let captions = inspect(&planted(), 1, &|_| ()).captions;
    assert_eq!((captions.count, captions.pictures_with, captions.pictures_without), (10, 9, 1));
    assert_eq!(captions.words, Words { min: 1, mean: (7 * 2 + 2 + 61 + 1) as f64 / 10.0, max: 61 });
    assert_eq!((captions.longer_than_60_words, captions.distinct), (1, 4));
    assert_eq!(captions.most_frequent[0], Counted { value: "a cat".into(), count: 7 });
    assert_eq!(captions.most_frequent[1].value, "a dog"); // equals by text
    assert_eq!(captions.share_of_most_frequent, 7.0 / 9.0);

    let of = |pictures: &[Vec<String>]| CaptionStatistics::of(pictures.iter().map(Vec::as_slice));
    let many: Vec<Vec<String>> = (0..12).map(|i| vec!["x".into(), format!("{i:02}")]).collect();
    assert_eq!((of(&many).most_frequent.len(), of(&many).distinct), (10, 13));
    assert_eq!(of(&many).share_of_most_frequent, 0.0); // all have another one too
    assert_eq!(of(&[vec![]]).words, Words::default());
}

#[test]
fn says_what_to_look_at() {
    let problems = inspect(&planted(), 2, &|_| ()).problems();
    for (problem, expected) in problems.iter().zip([
        "3 of 10 pictures cannot be read; the first: cannot read `half`",
        "1 of 10 pictures have no caption",
        "78 % of the captioned pictures have the same caption, `a cat`",
        "1 of 10 captions are longer than 60 words",
        "1 of 10 pictures repeat the same file as another; the first: `a`, `a again`",
        "2 of 10 pictures repeat nearly the same picture as another; the first: `a`, `a smaller`",
        "2 of 10 pictures are narrower than 1:3",
        "1 of 10 pictures have an alpha channel",
    ]) {
        assert!(problem.starts_with(expected), "{problem}");
    }
    assert_eq!(problems.len(), 8);
    let fine = Memory(vec![("a".into(), encoded(scene(1, 8, 8), ImageFormat::Png), vec!["a cat".into()])]);
    assert!(inspect(&fine, 2, &|_| ()).problems().is_empty());
}

#[test]
fn does_not_depend_on_the_number_of_threads() {
    let pictures = planted();
    let one = inspect(&pictures, 1, &|_| ());
    for threads in [0, 2, 3, 16] {
        let done = Mutex::new(Vec::new());
        assert_eq!(inspect(&pictures, threads, &|count| done.lock().unwrap().push(count)), one);
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (1..=10).collect::<Vec<_>>());
    }
    let json = serde_json::to_value(&one).unwrap();
    assert_eq!(json["kinds"]["png"], 4);
    assert_eq!(json["sizes"]["most_frequent"][0]["value"], "64x48");
}

#[test]
fn rare_sizes_are_counted_together() {
    let name = |i: u32| (i.to_string(), encoded(scene(1, 8, 8 + i % 24), ImageFormat::Png), Vec::new());
    let sizes = inspect(&Memory((0..30).map(name).collect()), 2, &|_| ()).sizes;
    // 6 sizes twice, 18 once: the 20 listed have 26 pictures.
    assert_eq!((sizes.most_frequent.len(), sizes.others), (20, 4));
    assert_eq!(sizes.longer_side, Sides { min: 8, median: 16.5, max: 31 });
}

#[test]
fn aspect_ratios_are_the_nearest_by_factor() {
    for (width, height, expected) in [
        (1, 3, "1:3"),
        (100, 301, "below 1:3"),
        (301, 100, "above 3:1"),
        (3, 1, "3:1"),
        (1, 1, "1:1"),
        (1118, 1000, "1:1"), // below √(5/4) = 1.11803
        (1119, 1000, "5:4"),
        (1000, 1118, "1:1"),
        (1920, 1080, "16:9"),
        (u32::MAX, u32::MAX - 1, "1:1"),
    ] {
        let (format, color) = (ImageFormat::Png, image::ColorType::Rgb8);
        let info = PictureInfo { width, height, format, color, rotated: false };
        let ratios = aspect_ratios(&[info]);
        assert_eq!(ratios.iter().find(|ratio| ratio.count == 1).unwrap().ratio, expected, "{width}x{height}");
    }
}

#[test]
fn fingerprints_are_difference_hashes() {
    // Brightness rises to the right in the upper half, falls in the lower; below it is brighter.
    let picture = RgbImage::from_fn(90, 80, |x, y| Rgb([if y < 40 { x } else { 255 - x } as u8; 3]));
    let fingerprint = Fingerprint::of(&picture);
    assert_eq!(fingerprint.first, 0xffff_ffff_0000_0000);
    // The fifth of nine rows lies across the middle and, like the sixth, is brighter than the one above.
    assert_eq!(fingerprint.second, 0x0000_00ff_ff00_0000);
    let upside_down = Fingerprint::of(&image::imageops::flip_vertical(&picture));
    assert_eq!(upside_down, Fingerprint { first: 0x0000_0000_ffff_ffff, second: 0 });
    // Shares of pixels are exact: doubling every pixel changes nothing, whatever the size.
    for (width, height) in [(1, 1), (2, 3), (7, 11), (40, 30)] {
        let picture = scene(3, width, height);
        let doubled = RgbImage::from_fn(2 * width, 2 * height, |x, y| *picture.get_pixel(x / 2, y / 2));
        assert_eq!(Fingerprint::of(&doubled), Fingerprint::of(&picture), "{width}x{height}");
    }
    // The smallest picture has no differences.
    assert_eq!(Fingerprint::of(&scene(1, 1, 1)), Fingerprint { first: 0, second: 0 });
}

/// SplitMix64: numbers for tests.
fn mixed(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `hash` with `flips` different bits turned, which ones by `seed`.
fn turned(hash: u64, flips: u64, seed: u64) -> u64 {
    let (start, odd) = (mixed(seed) % 64, mixed(seed + 1) | 1);
    (0..flips).fold(hash, |all, k| all ^ 1 << (start.wrapping_add(k.wrapping_mul(odd)) % 64))
}

#[test]
fn near_pairs_are_all_found_and_no_others() {
    // Originals are about 32 bits from each other. Each has a copy with 0 to 7 bits turned in the first
    // hash, and 6 or 7 in the second.
    let mut looks = Vec::new();
    for i in 0..2000 {
        let (first, second) = (mixed(i), mixed(i + 5000));
        looks.push(Fingerprint { first, second });
        looks.push(Fingerprint { first: turned(first, i % 8, i), second: turned(second, 6 + i / 8 % 2, i) });
    }
    let files: Vec<[u8; 32]> =
        (0..looks.len()).map(|i| std::array::from_fn(|k| (i >> (8 * (k % 4))) as u8)).collect();
    let groups = Groups::of(&files, &looks);
    let expected: Vec<Vec<usize>> =
        (0..2000).filter(|i| i % 8 <= 4 && i / 8 % 2 == 0).map(|i| vec![2 * i, 2 * i + 1]).collect();
    assert_eq!(groups.near, expected);
    assert!(groups.equal.is_empty());
}

#[test]
fn copies_of_one_file_are_not_near_duplicates() {
    let look = Fingerprint { first: 5, second: 7 };
    let files = [[1; 32], [2; 32], [1; 32], [3; 32], [2; 32]];
    let other = Fingerprint { first: !5, second: 7 };
    let groups = Groups::of(&files, &[look, other, look, look, other]);
    assert_eq!(groups.equal, [[0, 2], [1, 4]]);
    assert_eq!(groups.near, [[0, 3]]);
}
