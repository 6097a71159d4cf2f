//! A picture inside the page: PNG in a data URI.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::Figure;
use super::page::escape;
use crate::error::{Error, Result};

/// Width on the page, in CSS pixels, that pictures are enlarged or reduced to.
const WIDTH: u32 = 160;

/// The figure as an HTML `figure`.
///
/// # Errors
/// `Error::Shape` if the picture has no pixels.
pub(super) fn html(figure: &Figure) -> Result<String> {
    let caption = escape(&figure.caption);
    let (width, class) = shown(figure.image.width());
    let source = data_uri(&figure.image, &figure.caption)?;
    Ok(format!(
        "<figure style=\"width:{width}px\"><img class=\"{class}\" width=\"{width}\" alt=\"{caption}\" src=\"{source}\">\
         <figcaption>{caption}</figcaption></figure>\n"
    ))
}

/// Width on the page and class of a picture `width` pixels wide: small ones are enlarged by a whole
/// factor, so that every pixel is the same square; large ones are reduced smoothly.
fn shown(width: u32) -> (u32, &'static str) {
    match width {
        1..=WIDTH => (width * (WIDTH / width), "pixelated"),
        _ => (WIDTH, "smooth"),
    }
}

fn data_uri(image: &RgbImage, caption: &str) -> Result<String> {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        let what = format!("figure `{caption}` of the report");
        return Err(Error::shape(what, "at least 1 × 1 pixel", format!("{width} × {height}")));
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(
        |e| Error::argument(format!("figure `{caption}` of the report"), "a picture PNG can hold", e),
    )?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_survives_the_round_trip() {
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 50, y as u8 * 80, 7]));
        let uri = data_uri(&image, "").unwrap();
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgb8(), image);
    }

    #[test]
    fn small_pictures_are_enlarged_by_a_whole_factor() {
        for (width, expected) in
            [(1, 160), (32, 160), (48, 144), (64, 128), (96, 96), (160, 160), (161, 160), (512, 160)]
        {
            assert_eq!(shown(width).0, expected);
        }
    }

    #[test]
    fn picture_without_pixels_is_refused() {
        let figure = Figure { image: RgbImage::new(0, 4), caption: "nothing".into() };
        assert!(html(&figure).unwrap_err().to_string().contains("`nothing`"));
    }
}
