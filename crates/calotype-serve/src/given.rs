//! Pictures that clients send: base64 with and without data URL, within bounds that are asked before pixels are made.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use calotype::data::picture;
use image::{DynamicImage, GrayImage, RgbImage};

use crate::problem::{Answer, Problem};

/// Longest side of a picture that is sent: a thin one grows beyond measure while it is resized.
const LONGEST_SIDE: u32 = 8192;

/// Within what bounds pictures are read.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most pixels.
    pub pixels: u64,
}

/// The bytes of base64, after a data URL's head if there is one. `name`: of the setting, for messages.
///
/// # Errors
/// 422.
pub fn decoded(name: &str, text: &str) -> Answer<Vec<u8>> {
    let text = match text.strip_prefix("data:") {
        None => text,
        Some(url) => match url.split_once(',') {
            Some((head, data)) if head.ends_with(";base64") => data,
            _ => return Err(Problem::setting(name, "a data URL in base64", "another")),
        },
    };
    // Mail and shells break lines.
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).map_err(|error| Problem::setting(name, "base64 of a picture", error))
}

impl Bounds {
    /// A picture, transparent parts over white.
    ///
    /// # Errors
    /// 422 for what is no picture; 413 for one with too many pixels, of which none is decoded.
    pub fn picture(self, name: &str, bytes: &[u8]) -> Answer<RgbImage> {
        self.over(name, bytes, [255; 3])
    }

    /// A mask: white is painted; what is transparent is not.
    ///
    /// # Errors
    /// As [`Bounds::picture`].
    pub fn mask(self, name: &str, bytes: &[u8]) -> Answer<GrayImage> {
        Ok(DynamicImage::ImageRgb8(self.over(name, bytes, [0; 3])?).to_luma8())
    }

    /// The mask that a picture's transparency is: what is fully transparent is painted. OpenAI's way.
    ///
    /// # Errors
    /// As [`Bounds::picture`].
    pub fn transparency(self, name: &str, bytes: &[u8]) -> Answer<Option<GrayImage>> {
        self.require(name, bytes)?;
        let picture =
            image::load_from_memory(bytes).map_err(|e| Problem::setting(name, "a whole picture", e))?;
        if !picture.color().has_alpha() {
            return Ok(None);
        }
        let alpha = picture.to_rgba8();
        let (width, height) = alpha.dimensions();
        let painted = |x, y| image::Luma([if alpha.get_pixel(x, y)[3] == 0 { 255 } else { 0 }]);
        Ok(Some(GrayImage::from_fn(width, height, painted)))
    }

    fn over(self, name: &str, bytes: &[u8], background: [u8; 3]) -> Answer<RgbImage> {
        self.require(name, bytes)?;
        picture::decode(bytes, name, background).map_err(|error| as_setting(name, &error))
    }

    /// Refuses a picture by what its header says.
    fn require(self, name: &str, bytes: &[u8]) -> Answer<()> {
        let info = picture::describe(bytes, name).map_err(|error| as_setting(name, &error))?;
        let pixels = u64::from(info.width) * u64::from(info.height);
        if pixels > self.pixels {
            let message = format!(
                "{name}: expected at most {} pixels, got {} x {}",
                self.pixels, info.width, info.height
            );
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message);
            return Err(Problem { setting: Some(name.to_owned()), ..problem });
        }
        if info.width.max(info.height) > LONGEST_SIDE {
            let (width, height) = (info.width, info.height);
            let message =
                format!("{name}: expected sides of at most {LONGEST_SIDE} pixels, got {width} x {height}");
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message);
            return Err(Problem { setting: Some(name.to_owned()), ..problem });
        }
        Ok(())
    }
}

fn as_setting(name: &str, error: &calotype::Error) -> Problem {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    Problem { setting: Some(name.to_owned()), ..problem }
}

/// A PNG of pixels.
///
/// # Errors
/// 500 where the encoder fails, which it does not on pictures in memory.
pub fn png(picture: &RgbImage) -> Answer<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(Problem::internal)?;
    Ok(bytes.into_inner())
}

/// Base64 of bytes.
pub fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { pixels: 64 };

    #[test]
    fn data_urls_and_bare_base64_are_the_same() {
        let picture = RgbImage::from_pixel(4, 4, image::Rgb([9, 8, 7]));
        let bytes = png(&picture).unwrap();
        let bare = encoded(&bytes);
        for text in [bare.clone(), format!("data:image/png;base64,{bare}"), bare.replace('A', "A\n")] {
            assert_eq!(BOUNDS.picture("x", &decoded("x", &text).unwrap()).unwrap(), picture);
        }
        for bad in ["data:image/png,abc", "data:", "$$$$", "aGVsbG8="] {
            let problem = decoded("init_image", bad).and_then(|bytes| BOUNDS.picture("init_image", &bytes));
            assert_eq!(problem.unwrap_err().setting.as_deref(), Some("init_image"), "{bad}");
        }
    }

    #[test]
    fn a_picture_is_refused_by_its_header() {
        let bytes = png(&RgbImage::new(9, 8)).unwrap();
        assert_eq!(BOUNDS.picture("x", &bytes).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        // The header says 50 000 x 50 000; there are no pixels at all.
        let mut bomb = bytes[..33].to_vec();
        bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
        assert!(BOUNDS.picture("x", &bomb).unwrap_err().status.is_client_error());
    }

    #[test]
    fn transparency_is_a_mask() {
        let mut picture = image::RgbaImage::from_pixel(2, 1, image::Rgba([1, 2, 3, 255]));
        picture.get_pixel_mut(1, 0)[3] = 0;
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let mask = BOUNDS.transparency("mask", bytes.get_ref()).unwrap().unwrap();
        assert_eq!(mask.as_raw(), &[0, 255]);
        assert!(BOUNDS.transparency("mask", &png(&RgbImage::new(2, 2)).unwrap()).unwrap().is_none());
    }
}
