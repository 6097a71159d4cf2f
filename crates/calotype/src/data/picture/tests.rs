//! Golden pixels: Pillow 13.0.0 (`ImageOps.exif_transpose`, then `paste` over the background).

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder, Luma, LumaA, Rgb, Rgba};

use super::*;

const BACKGROUND: [u8; 3] = [10, 200, 90];

fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn png<P>(picture: &ImageBuffer<P, Vec<P::Subpixel>>) -> Vec<u8>
where
    P: image::PixelWithColorType,
    [P::Subpixel]: image::EncodableLayout,
{
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn pixels(bytes: &[u8]) -> Vec<[u8; 3]> {
    decode(bytes, "test", BACKGROUND).unwrap().pixels().map(|pixel| pixel.0).collect()
}

/// Big-endian EXIF that holds only an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat()
}

fn encoded(format: ImageFormat, grey: &[u8], (width, height): (u32, u32), exif: Vec<u8>) -> Vec<u8> {
    let rgb: Vec<u8> = grey.iter().flat_map(|&v| [v; 3]).collect();
    let mut bytes = Vec::new();
    fn write(mut encoder: impl ImageEncoder, exif: Vec<u8>, rgb: &[u8], (width, height): (u32, u32)) {
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8).unwrap();
    }
    match format {
        ImageFormat::Png => write(PngEncoder::new(&mut bytes), exif, &rgb, (width, height)),
        ImageFormat::Jpeg => {
            write(JpegEncoder::new_with_quality(&mut bytes, 100), exif, &rgb, (width, height));
        }
        _ => write(WebPEncoder::new_lossless(&mut bytes), exif, &rgb, (width, height)),
    }
    bytes
}

/// A 3 × 2 picture stored with each orientation, and what Pillow makes of it.
const ORIENTED: [(u8, (u32, u32), [u8; 6]); 8] = [
    (1, (3, 2), [10, 20, 30, 40, 50, 60]),
    (2, (3, 2), [30, 20, 10, 60, 50, 40]),
    (3, (3, 2), [60, 50, 40, 30, 20, 10]),
    (4, (3, 2), [40, 50, 60, 10, 20, 30]),
    (5, (2, 3), [10, 40, 20, 50, 30, 60]),
    (6, (2, 3), [40, 10, 50, 20, 60, 30]),
    (7, (2, 3), [60, 30, 50, 20, 40, 10]),
    (8, (2, 3), [30, 60, 20, 50, 10, 40]),
];

#[test]
fn all_orientations_are_turned_upright() {
    for (orientation, size, expected) in ORIENTED {
        let prefixed = [b"Exif\0\0".to_vec(), exif(orientation)].concat();
        for (format, exif) in [
            (ImageFormat::Png, exif(orientation)),
            (ImageFormat::WebP, exif(orientation)),
            (ImageFormat::WebP, prefixed),
        ] {
            let bytes = encoded(format, &[10, 20, 30, 40, 50, 60], (3, 2), exif);
            assert_eq!(pixels(&bytes), expected.map(|v| [v; 3]), "{format:?} {orientation}");
            let color = ColorType::Rgb8;
            let rotated = orientation != 1;
            let info = PictureInfo { width: size.0, height: size.1, format, color, rotated };
            assert_eq!(describe(&bytes, "test").unwrap(), info);
        }
        // In JPEG every pixel is a block of 16 x 16, and its middle is looked at.
        let blocks: Vec<u8> =
            (0..32 * 48).map(|i| 10 * (i % 48 / 16 + 3 * (i / 48 / 16) + 1) as u8).collect();
        let bytes = encoded(ImageFormat::Jpeg, &blocks, (48, 32), exif(orientation));
        let picture = decode(&bytes, "test", BACKGROUND).unwrap();
        assert_eq!(picture.dimensions(), (size.0 * 16, size.1 * 16));
        for (i, expected) in (0..).zip(expected) {
            let got = picture.get_pixel(i % size.0 * 16 + 8, i / size.0 * 16 + 8).0[0];
            assert!(got.abs_diff(expected) <= 1, "{orientation}: expected {expected}, got {got}");
        }
    }
    let nonsense = encoded(ImageFormat::Png, &[1, 2], (2, 1), exif(9));
    assert_eq!(pixels(&nonsense), [[1; 3], [2; 3]]);
}

#[test]
fn sixteen_bits_are_rounded() {
    let values: [u16; 9] = [0, 128, 129, 255, 385, 386, 65_406, 65_407, 65_535];
    let expected = [0, 0, 1, 1, 1, 2, 254, 255, 255];
    let row = |i: u32| values[i as usize];
    let grey = png(&ImageBuffer::from_fn(9, 1, |x, _| Luma([row(x)])));
    assert_eq!(pixels(&grey), expected.map(|v| [v; 3]));
    let rgb = png(&ImageBuffer::from_fn(9, 1, |x, _| Rgb([row(x), row(8 - x), 257])));
    assert_eq!(pixels(&rgb)[5], [2, 1, 1]);
    let grey_alpha = png(&ImageBuffer::from_fn(2, 1, |x, _| LumaA([25_700u16, [0, 65_535][x as usize]])));
    assert_eq!(pixels(&grey_alpha), [BACKGROUND, [100; 3]]);
    let rgba = png(&ImageBuffer::from_fn(1, 1, |_, _| Rgba([10u16, 20, 30, 77].map(|v| 257 * v))));
    assert_eq!(pixels(&rgba), [[10, 146, 72]]);
    assert_eq!(describe(&rgba, "test").unwrap().color, ColorType::Rgba16);
}

#[test]
fn alpha_is_laid_over_the_background_and_rounded() {
    for (c, alpha) in (0..=255).flat_map(|c| (0..=255).map(move |alpha| (c, alpha))) {
        for background in [0, 1, 100, 255] {
            let [c_, a, b] = [c, alpha, background].map(f64::from);
            let exact = (c_ * a + b * (255.0 - a)) / 255.0;
            assert_eq!(over([c; 3], alpha, [background; 3]), [exact.round_ties_even() as u8; 3]);
        }
    }
    let grey: [(u8, u8); 4] = [(200, 255), (200, 100), (7, 1), (255, 0)];
    let bytes = png(&ImageBuffer::from_fn(4, 1, |x, _| LumaA([grey[x as usize].0, grey[x as usize].1])));
    assert_eq!(pixels(&bytes), [[200, 200, 200], [85, 200, 133], [10, 199, 90], BACKGROUND]);
}

#[test]
fn palette_with_transparency() {
    let bytes = from_hex(concat!(
        "89504e470d0a1a0a0000000d49484452000000040000000102030000008452e75e0000000c504c5445ff000000ff000000ff",
        "090807a2d262c00000000374524e530080ffecf7b3180000000a49444154789c63900600001d001c8ef4f521000000004945",
        "4e44ae426082"
    ));
    assert_eq!(pixels(&bytes), [BACKGROUND, [5, 228, 45], [0, 0, 255], [9, 8, 7]]);
}

#[test]
fn grey_pictures() {
    let bytes = png(&ImageBuffer::from_fn(3, 1, |x, _| Luma([[0u8, 100, 255][x as usize]])));
    assert_eq!(pixels(&bytes), [[0; 3], [100; 3], [255; 3]]);
    assert_eq!(describe(&bytes, "test").unwrap().color, ColorType::L8);
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.write_image(&[100; 64], 8, 8, ExtendedColorType::L8).unwrap();
    assert_eq!(pixels(&bytes), [[100; 3]; 64]);
}

#[test]
fn lossy_webp_with_alpha() {
    let bytes = from_hex(concat!(
        "524946467000000057454250565038580a00000010000000010000010000414c50480500000000ff4d800000565038204400",
        "00003002009d012a0200020000c01225980274ba01f8000320f3f40000f97ffe2c3fe39ffec17ff345fff5e237f195f7a156",
        "9c7ffe6c0ae6b9f7fbffd26cf136789b3e398000"
    ));
    // The decoder would do without the last bytes.
    assert!((0..bytes.len()).all(|length| decode(&bytes[..length], "cut", BACKGROUND).is_err()));
    assert_eq!(pixels(&bytes), [[166, 113, 85], [24, 141, 63], [133, 220, 151], BACKGROUND]);
}

/// Two frames; the second has other colours.
#[test]
fn an_animation_gives_its_first_frame() {
    let bytes = from_hex(concat!(
        "524946468c00000057454250565038580a00000012000000010000000000414e494d06000000000000000000414e4d462e00",
        "0000000000000000010000000000000000025650384c160000002f010000100f700aa82bf89ec2e34db2418b8ce87f00414e",
        "4d462a000000000000000000010000000000000000025650384c120000002f010000100f30fff33fff0318f0c888fe07"
    ));
    assert_eq!(pixels(&bytes), [[200, 100, 50], [10, 146, 72]]);
}

/// C 30, M 120, Y 200, K 60 of 255, with Adobe's marker.
#[test]
fn cmyk_jpeg() {
    let bytes = from_hex(concat!(
        "ffd8ffee000e41646f626500640000000000ffdb0043000302020302020303030304030304050805050404050a070706080c",
        "0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc00014080008000804431100",
        "4d11005911004b1100ffc400160001010100000000000000000000000000080509ffc4001410010000000000000000000000",
        "0000000000ffda000e0443004d0059004b00003f00d03530f0b37fffd9"
    ));
    assert_eq!(pixels(&bytes), [[172, 103, 42]; 64]);
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let noise: Vec<u8> = (0..40u32 * 24).map(|i| ((i * i * 31) >> 3) as u8).collect();
    for (format, needless) in [(ImageFormat::Jpeg, 0), (ImageFormat::Png, 12), (ImageFormat::WebP, 0)] {
        // The end marker of a thumbnail inside of the EXIF data must not count.
        let exif = [exif(1), vec![0xFF, 0xD8, 0xFF, 0xD9]].concat();
        let bytes = encoded(format, &noise, (40, 24), exif);
        decode(&bytes, "whole", BACKGROUND).unwrap();
        // All pixels of a PNG are there before its last chunk, which is empty.
        for length in 0..bytes.len() - needless {
            let error = decode(&bytes[..length], "a/b.jpg", BACKGROUND).unwrap_err();
            assert!(matches!(&error, Error::Format { .. }), "{error}");
            assert!(error.to_string().contains("`a/b.jpg`"), "{error}");
        }
        if format == ImageFormat::Jpeg {
            // Any number of 0xFF may stand before a marker, here before the first and the last.
            let (inner, end) = bytes[2..].split_at(bytes.len() - 4);
            decode(&[&[0xFF, 0xD8, 0xFF, 0xFF], inner, &[0xFF], end].concat(), "filled", BACKGROUND).unwrap();
        }
        let with_more = [bytes, b"appended".to_vec()].concat();
        decode(&with_more, "whole", BACKGROUND).unwrap();
    }
}

#[test]
fn pictures_without_end_are_refused() {
    // A PNG of 16385 x 16384 black or white pixels in 66 bytes.
    let png = from_hex(concat!(
        "89504e470d0a1a0a0000000d49484452000040010000400001000000006e7146170000000849444154789c03000000000148",
        "0689d20000000049454e44ae426082"
    ));
    let mut jpeg = encoded(ImageFormat::Jpeg, &[0; 64], (8, 8), exif(1));
    let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    for (bytes, size) in [(png, "16385 x 16384"), (jpeg, "65535 x 65535")] {
        for error in [decode(&bytes, "huge", BACKGROUND).unwrap_err(), describe(&bytes, "huge").unwrap_err()]
        {
            let error = error.to_string();
            assert!(
                error.contains("`huge`") && error.contains(size) && error.contains("268435456"),
                "{error}"
            );
        }
    }
}

#[test]
fn other_files_are_refused_by_content() {
    for (bytes, reason) in [
        (b"\0\0\0\x1cftypavif\0\0\0\0".as_slice(), "the kind AVIF are not read"),
        (b"GIF89a\x01\0\x01\0", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"<svg></svg>", "no known beginning"),
        (b"", "0 bytes"),
    ] {
        let error = decode(bytes, "picture.png", BACKGROUND).unwrap_err().to_string();
        assert!(error.contains("`picture.png`") && error.contains(reason), "{error}");
    }
}

#[test]
fn gif_bmp_and_tiff_are_read() {
    let picture = RgbImage::from_fn(7, 5, |x, y| Rgb([(x * 30) as u8, (y * 50) as u8, 9]));
    for format in [ImageFormat::Bmp, ImageFormat::Tiff] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        assert_eq!(decode(bytes.get_ref(), "a", BACKGROUND).unwrap(), picture, "{format:?}");
        let info = describe(bytes.get_ref(), "a").unwrap();
        assert_eq!((info.width, info.height, info.format), (7, 5, format));
        let cut = &bytes.get_ref()[..bytes.get_ref().len() - 30];
        assert!(decode(cut, "a.x", BACKGROUND).unwrap_err().to_string().contains("a.x"), "{format:?}");
    }
    // Two frames of one pixel, blue and then red: the first is the picture.
    let frame = |index: u8| {
        // 2 bits of minimal code: clear (4), the index, end (5), each of 3 bits.
        let codes = 4 | u16::from(index) << 3 | 5 << 6;
        [b",\0\0\0\0\x01\0\x01\0\0\x02\x02", &codes.to_le_bytes()[..], b"\0"].concat()
    };
    let palette = [0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
    let gif = [b"GIF89a\x01\0\x01\0\x81\0\0", &palette[..], &frame(0), &frame(1), b";"].concat();
    assert_eq!(decode(&gif, "a", BACKGROUND).unwrap().get_pixel(0, 0).0, [0, 0, 255]);
}
