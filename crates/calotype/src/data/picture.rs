//! From the bytes of a picture file to pixels: upright, 8-bit RGB.
//!
//! PNG, JPEG, WebP, GIF, BMP and TIFF are recognised by their content; a JPEG that is called `.png` is still a picture.
//! What every file becomes:
//!
//! - turned and mirrored as its EXIF orientation says;
//! - transparent parts laid over a background: c·α + b·(1 − α), rounded to 8 bits;
//! - 16 bits to 8: v / 257, rounded; grey to three equal channels; palettes looked up;
//! - CMYK and YCCK JPEGs, whose inks are taken to be stored inverted as Adobe does, to RGB as
//!   (1 − ink)(1 − black); colour profiles are ignored, here and everywhere;
//! - of an animation, the first frame (of an animated PNG, its still picture).
//!
//! # Differences from Pillow
//! Measured with Pillow 13.0 (`ImageOps.exif_transpose`, then `paste` on the background with the alpha
//! channel as mask). Equal: all eight orientations, grey, 1 bit, palettes and grey with transparency, 8-bit
//! alpha, lossy and lossless WebP, the first frame of an animated one, CMYK JPEG. Different:
//!
//! - JPEG in colour: by at most 3 of 255, with subsampled chroma 4; there, up to 21 in the last row and
//!   column if the size is no multiple of 16 (the upsampling looks beyond the edge);
//! - 16-bit PNG: Pillow keeps the high byte of colours, 1 level from ours at most, and makes all grey above
//!   255 of 65 535 white;
//! - an orientation that stands only in XMP, in a PNG's text, or in an `eXIf` chunk after the pixels: Pillow
//!   sees it, this does not.

mod kind;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Pixel, RgbImage};

use self::kind::kind;
pub(crate) use self::kind::{ENDINGS, FORMATS, is_unread_kind, unread_kind};
use crate::error::{Error, Result};

/// Bytes that say the kind of a picture, or what lies in its place.
const HEAD: u64 = 512;

/// The most pixels that a picture may have: 2²⁸, as 16 384 × 16 384. A file of some hundred bytes can
/// claim to hold billions.
pub const MAX_PIXELS: u64 = 1 << 28;

/// What the header of a picture file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureInfo {
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
    /// The kind of file, by its content.
    pub format: ImageFormat,
    /// Channels and bits that the decoder gives: palettes and fewer than 8 bits count as looked up.
    pub color: ColorType,
    /// Whether the EXIF orientation turns or mirrors the stored pixels.
    pub rotated: bool,
}

/// A picture from a file, transparent parts laid over white.
///
/// # Errors
/// `Error::Io` if the file cannot be read; as [`decode`].
pub fn load(path: &Path) -> Result<RgbImage> {
    load_over(path, [255; 3])
}

/// [`load`], transparent parts laid over `background`.
///
/// # Errors
/// As [`load`].
pub fn load_over(path: &Path, background: [u8; 3]) -> Result<RgbImage> {
    decode(&read(path)?, &path.display().to_string(), background)
}

/// The bytes of a picture file. What does not begin as a picture is not read to its end.
///
/// # Errors
/// `Error::Io` if the file cannot be read; `Error::Format` for what is no picture of these kinds.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    file.by_ref().take(HEAD).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    kind(&bytes, length, &path.display().to_string())?;
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Decodes a picture: upright, 8-bit RGB, transparent parts laid over `background` (see the
/// [module](self)).
///
/// On the way, about 11 bytes for each pixel are in memory at most (16 bits with alpha, progressive JPEG).
///
/// - `name`: where the bytes come from; errors have it as their path.
///
/// # Errors
/// `Error::Format` if it is not a whole file of these kinds, or has more than [`MAX_PIXELS`] pixels. A JPEG
/// without its end marker is not whole. One that is damaged in the middle is not noticed, nor is it by
/// other programs.
pub fn decode(bytes: &[u8], name: &str, background: [u8; 3]) -> Result<RgbImage> {
    let (mut decoder, format) = open(bytes, name)?;
    require_end(bytes, format).map_err(|reason| Error::format(name, FORMATS, reason))?;
    let orientation = orientation(&mut decoder, name)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|e| Error::format(name, FORMATS, e))?;
    let color = picture.color();
    let picture = to_rgb(picture, background).ok_or_else(|| no_integers(name, color))?;
    // After the conversion: the copy that a quarter turn makes is smaller.
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Decodes a picture as Pillow's `convert("RGB")` does: neither turned nor mirrored, transparency dropped and not
/// blended.
///
/// - `name`: where the bytes come from; errors have it as their path.
///
/// Returns the kind of the file and its pixels' too.
///
/// # Errors
/// As [`decode`], but that a file is cut short is noticed only where the decoder does.
pub(crate) fn decode_as_stored(bytes: &[u8], name: &str) -> Result<(RgbImage, ImageFormat, ColorType)> {
    let (decoder, format) = open(bytes, name)?;
    let color = decoder.color_type();
    match DynamicImage::from_decoder(decoder).map_err(|e| Error::format(name, FORMATS, e))? {
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => Err(no_integers(name, color)),
        picture => Ok((picture.into_rgb8(), format, color)),
    }
}

/// The refusal of pixels that are no 8 or 16 bits, as a TIFF may have.
fn no_integers(name: &str, color: ColorType) -> Error {
    Error::format(name, FORMATS, format!("its pixels are {color:?}"))
}

/// Size and kind of a picture, without decoding its pixels.
///
/// - `name`: where the bytes come from; errors have it as their path.
///
/// # Errors
/// `Error::Format` if the header is not that of such a file, or names more than [`MAX_PIXELS`]
/// pixels. That the pixels are whole is found out by [`decode`] only.
pub fn describe(bytes: &[u8], name: &str) -> Result<PictureInfo> {
    let (mut decoder, format) = open(bytes, name)?;
    let orientation = orientation(&mut decoder, name)?;
    let (width, height) = match (orientation, decoder.dimensions()) {
        (
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH,
            (width, height),
        ) => (height, width),
        (_, stored) => stored,
    };
    let rotated = orientation != Orientation::NoTransforms;
    Ok(PictureInfo { width, height, format, color: decoder.color_type(), rotated })
}

/// Reads the header, and refuses what is too large before anything is allocated for it.
fn open<'a>(bytes: &'a [u8], name: &str) -> Result<(impl ImageDecoder + 'a, ImageFormat)> {
    let format = kind(bytes, bytes.len() as u64, name)?;
    let decoder = ImageReader::with_format(Cursor::new(bytes), format)
        .into_decoder()
        .map_err(|e| Error::format(name, FORMATS, e))?;
    let (width, height) = decoder.dimensions();
    match u64::from(width) * u64::from(height) {
        0 => Err(Error::format(name, FORMATS, format!("it has no pixels: {width} x {height}"))),
        pixels if pixels > MAX_PIXELS => {
            let reason = format!("{width} x {height} pixels; at most {MAX_PIXELS} (2^28) are read");
            Err(Error::format(name, FORMATS, reason))
        }
        _ => Ok((decoder, format)),
    }
}

/// The EXIF orientation; none where there is no EXIF or its orientation is nonsense.
fn orientation(decoder: &mut impl ImageDecoder, name: &str) -> Result<Orientation> {
    let exif = decoder.exif_metadata().map_err(|e| Error::format(name, FORMATS, e))?.unwrap_or_default();
    // The prefix belongs to JPEG's segment, but some programs write it into WebP and PNG too.
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    Ok(Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms))
}

/// Refuses truncated files where the decoder does not: JPEG's would fill what is missing with grey, WebP's
/// does without the last bytes.
fn require_end(bytes: &[u8], format: ImageFormat) -> std::result::Result<(), String> {
    match (format, bytes) {
        (ImageFormat::Jpeg, _) if !jpeg_has_end(bytes) => {
            Err("it is truncated: the JPEG has no end marker".into())
        }
        (ImageFormat::WebP, [_, _, _, _, a, b, c, d, rest @ ..]) => {
            let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
            let truncated = length > rest.len() as u64;
            let reason = || format!("it is truncated: {} of {} bytes", bytes.len(), length + 8);
            if truncated { Err(reason()) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Whether the marker "end of image" comes. Segments are skipped by their length, so that the end of an
/// embedded thumbnail does not count; in the coded pixels 0xFF is always followed by 0.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|&byte| byte == 0xFF) {
        rest = &rest[start + 1..];
        let length = match rest {
            [0xD9, ..] => return true,
            // 0xFF before a marker is filling; stuffing, TEM, restarts and SOI have no length.
            [0xFF, ..] => 0,
            [0x00 | 0x01 | 0xD0..=0xD8, ..] => 1,
            [_, high, low, ..] => 1 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    false
}

/// To 8-bit RGB; `None` for pixels that are no integers, as a TIFF may have.
fn to_rgb(picture: DynamicImage, background: [u8; 3]) -> Option<RgbImage> {
    let over = |color: [u8; 3], alpha: u8| over(color, alpha, background);
    Some(match picture {
        DynamicImage::ImageRgb8(picture) => picture,
        DynamicImage::ImageLuma8(picture) => each(&picture, |p| [p[0]; 3]),
        DynamicImage::ImageLumaA8(picture) => each(&picture, |p| over([p[0]; 3], p[1])),
        DynamicImage::ImageRgba8(picture) => each(&picture, |p| over([p[0], p[1], p[2]], p[3])),
        DynamicImage::ImageLuma16(picture) => each(&picture, |p| [to_8_bits(p[0]); 3]),
        DynamicImage::ImageLumaA16(picture) => {
            each(&picture, |p| over([to_8_bits(p[0]); 3], to_8_bits(p[1])))
        }
        DynamicImage::ImageRgb16(picture) => each(&picture, |p| [p[0], p[1], p[2]].map(to_8_bits)),
        DynamicImage::ImageRgba16(picture) => {
            each(&picture, |p| over([p[0], p[1], p[2]].map(to_8_bits), to_8_bits(p[3])))
        }
        _ => return None,
    })
}

/// Every pixel through `color`, which takes its channels.
fn each<P: Pixel>(
    picture: &ImageBuffer<P, Vec<P::Subpixel>>,
    color: impl Fn(&[P::Subpixel]) -> [u8; 3],
) -> RgbImage {
    let mut rgb = RgbImage::new(picture.width(), picture.height());
    for (to, from) in rgb.pixels_mut().zip(picture.pixels()) {
        to.0 = color(from.channels());
    }
    rgb
}

/// v / 257, rounded; 257 is odd, so there are no halves.
fn to_8_bits(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

/// (c·α + b·(255 − α)) / 255, rounded half to even: 255 is odd, so there are no halves.
fn over(color: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    std::array::from_fn(|c| {
        ((u32::from(color[c]) * alpha + u32::from(background[c]) * (255 - alpha) + 127) / 255) as u8
    })
}

#[cfg(test)]
mod tests;
