//! The kinds of picture files that can be written, by the ending of a name.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::{atomic, png};
use crate::error::{Error, Result};

/// Of a written JPEG: 1 to 100.
const JPEG_QUALITY: u8 = 95;

/// A kind of picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless; holds texts, and so the record of a run.
    Png,
    /// Of quality 95, colours at full resolution.
    Jpeg,
    /// Lossless.
    WebP,
}

impl PictureFormat {
    /// What the ending of `path` says; PNG where it names no kind of picture. `name`: what the path is for (`out`).
    ///
    /// # Errors
    /// `Error::Argument` for a kind that is not written.
    pub fn of(name: &str, path: &Path) -> Result<Self> {
        match ImageFormat::from_path(path) {
            Ok(ImageFormat::Png) | Err(_) => Ok(Self::Png),
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            Ok(_) => {
                let got = format!("`{}`", path.display());
                Err(Error::argument(name, "a name that ends in .png, .jpg or .webp", got))
            }
        }
    }

    /// Whether the ending of `path` is that of a picture, of a kind that is written or of another.
    pub fn is_named_by(path: &Path) -> bool {
        ImageFormat::from_path(path).is_ok()
    }

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    /// Whether texts can be written into it.
    pub fn holds_texts(self) -> bool {
        self == Self::Png
    }

    /// Writes a picture, whole or not at all, with `texts` by keyword where the kind holds them.
    ///
    /// # Errors
    /// `Error::Format` for a picture that the kind cannot hold; `Error::Io`.
    pub fn write(self, path: &Path, picture: &RgbImage, texts: &[(&str, &str)]) -> Result<()> {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = match self {
            Self::Png => return png::write_with_texts(path, picture, texts),
            Self::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture),
            Self::WebP => picture.write_to(&mut bytes, ImageFormat::WebP),
        };
        encoded.map_err(|e| Error::format(path, self.name(), e))?;
        atomic::write(path, bytes.get_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn a_file_is_what_its_ending_says() {
        let dir = TempDir::new();
        let picture = RgbImage::from_fn(16, 8, |x, y| image::Rgb([x as u8 * 15, 90, y as u8 * 30]));
        for (name, kind) in [
            ("a.png", ImageFormat::Png),
            ("a", ImageFormat::Png),
            ("a.b", ImageFormat::Png),
            ("a.JPG", ImageFormat::Jpeg),
            ("a.jpeg", ImageFormat::Jpeg),
            ("a.webp", ImageFormat::WebP),
        ] {
            let path = dir.join(name);
            PictureFormat::of("out", &path).unwrap().write(&path, &picture, &[("key", "text")]).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(image::guess_format(&bytes).unwrap(), kind, "{name}");
            let back = image::load_from_memory(&bytes).unwrap().into_rgb8();
            let off = back.iter().zip(picture.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(if kind == ImageFormat::Jpeg { off < 32 } else { off == 0 }, "{name}: {off}");
        }
        for name in ["a.gif", "a.tiff", "a.BMP", "a.avif"] {
            let refused = PictureFormat::of("out", Path::new(name));
            assert!(matches!(refused, Err(Error::Argument { name, .. }) if name == "out"), "{name}");
        }
    }
}
