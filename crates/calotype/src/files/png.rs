//! Pictures as PNG files.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use super::{atomic, png_text};
use crate::error::{Error, Result};

/// Writes a picture, whole or not at all.
///
/// # Errors
/// `Error::Format` for a picture without pixels, `Error::Io`.
pub fn write(path: &Path, picture: &RgbImage) -> Result<()> {
    write_with_texts(path, picture, &[])
}

/// [`write`], with texts by keyword inside the file.
///
/// # Errors
/// As [`write`]; `Error::Format` for what [`png_text::insert`] refuses.
pub fn write_with_texts(path: &Path, picture: &RgbImage, texts: &[(&str, &str)]) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|e| Error::format(path, "PNG", e))?;
    let bytes =
        png_text::insert(bytes.get_ref(), texts).map_err(|reason| Error::format(path, "PNG", reason))?;
    atomic::write(path, &bytes)
}
