//! Which kinds of picture files are read, and what there is in the place of one.

use image::ImageFormat;

use crate::error::{Error, Result};
use crate::files::content;

/// The kinds of files that are read.
pub(crate) const FORMATS: &str = "PNG, JPEG, WebP, GIF, BMP or TIFF";

/// Endings of pictures that are read, the four usual ones first; what they are is decided by their content.
pub(crate) const ENDINGS: [&str; 10] =
    ["jpg", "jpeg", "png", "webp", "jpe", "jfif", "gif", "bmp", "tif", "tiff"];

/// Endings of pictures that are not read.
const UNREAD: [&str; 21] = [
    "avif", "heic", "heif", "hif", "jxl", "jp2", "j2k", "svg", "psd", "tga", "ppm", "pgm", "pnm", "ico",
    "exr", "hdr", "dng", "cr2", "cr3", "nef", "arw",
];

/// Whether pictures with this ending are known, and not read.
pub(crate) fn is_unread_kind(extension: &str) -> bool {
    UNREAD.iter().any(|unread| extension.eq_ignore_ascii_case(unread))
}

/// That pictures of a kind are not read, and what to do about it. `extension`: their ending.
pub(crate) fn unread_kind(extension: &str) -> String {
    format!(
        "pictures of the kind {} are not read, only {FORMATS}: write it again as one of these, for example with \
         ImageMagick's `magick IN.{} OUT.png`",
        extension.to_ascii_uppercase(),
        extension.to_ascii_lowercase()
    )
}

/// Refuses a kind of picture that is not read.
///
/// # Errors
/// What to do about it.
fn require_read(format: ImageFormat) -> std::result::Result<(), String> {
    if READ.contains(&format) {
        return Ok(());
    }
    Err(unread_kind(format.extensions_str().first().copied().unwrap_or_default()))
}

const READ: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
];

/// The kind of a file of `length` bytes, by its first ones.
///
/// - `name`: where they come from; errors have it as their path.
///
/// # Errors
/// `Error::Format` for what is no picture, and for a kind of picture that is not read.
pub(super) fn kind(head: &[u8], length: u64, name: &str) -> Result<ImageFormat> {
    let format = image::guess_format(head).map_err(|_| match content::mistaken(head) {
        Some(found) => found.error(name, FORMATS),
        None => Error::format(name, FORMATS, without_known_beginning(head, length)),
    })?;
    require_read(format).map_err(|reason| Error::format(name, FORMATS, reason))?;
    Ok(format)
}

/// What a file is that no picture begins like.
fn without_known_beginning(bytes: &[u8], length: u64) -> String {
    // ISO's base media files say their kind behind a length, `ftyp`: ISO/IEC 23008-12, Annex B.
    let brand = bytes.get(4..12).and_then(|head| head.strip_prefix(b"ftyp"));
    match (bytes, brand) {
        (_, Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1")) => unread_kind("heic"),
        ([0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..], _) => unread_kind("jxl"),
        _ => format!("{length} bytes, and no known beginning"),
    }
}
