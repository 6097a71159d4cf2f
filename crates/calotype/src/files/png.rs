//! Pictures as PNG files.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use png::{BitDepth, ColorType, Encoder, EncodingError};

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

/// Milliseconds that a frame of an animation is shown, and the last one.
const FRAME: [u16; 2] = [150, 1000];

/// Writes an animated PNG that repeats for ever, whole or not at all: frames of 0.15 s, the last of 1 s. What knows no
/// animations shows the first frame.
///
/// # Errors
/// `Error::Format` for no frames, frames of different size, or without pixels; `Error::Io`.
pub fn write_animation(path: &Path, frames: &[RgbImage]) -> Result<()> {
    let size = frames.first().map(RgbImage::dimensions).unwrap_or_default();
    if let Some(other) = frames.iter().find(|frame| frame.dimensions() != size) {
        let reason = format!("frames of {size:?} and of {:?}", other.dimensions());
        return Err(Error::format(path, "animated PNG", reason));
    }
    let bytes = animation(frames, size).map_err(|e| Error::format(path, "animated PNG", e))?;
    atomic::write(path, &bytes)
}

fn animation(
    frames: &[RgbImage],
    (width, height): (u32, u32),
) -> std::result::Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_animated(frames.len() as u32, 0)?;
    let mut writer = encoder.write_header()?;
    for (i, frame) in frames.iter().enumerate() {
        writer.set_frame_delay(FRAME[usize::from(i + 1 == frames.len())], 1000)?;
        writer.write_image_data(frame)?;
    }
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn an_animation_has_its_frames() {
        let folder = TempDir::new();
        let path = folder.join("a.png");
        let frames = [0, 100, 200].map(|level| RgbImage::from_pixel(3, 2, image::Rgb([level; 3])));
        write_animation(&path, &frames).unwrap();
        let file = BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        assert_eq!(reader.info().animation_control.unwrap().num_frames, 3);
        for frame in &frames {
            let mut pixels = vec![0; 3 * 2 * 3];
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(&pixels, frame.as_raw());
        }
        assert_eq!(reader.info().frame_control.unwrap().delay_num, FRAME[1]);
        // To others it is the first picture.
        assert_eq!(image::open(&path).unwrap().to_rgb8(), frames[0]);
        let refused = |frames: &[RgbImage]| write_animation(&path, frames).unwrap_err().to_string();
        assert!(refused(&[]).contains("animated PNG"));
        assert!(refused(&[RgbImage::new(3, 2), RgbImage::new(2, 2)]).contains("of (3, 2) and of (2, 2)"));
    }
}
