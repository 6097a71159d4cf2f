//! An edit on disk: both pictures, by themselves and side by side, the mask, and which word replaced which.

use std::path::Path;

use image::{DynamicImage, Rgb, RgbImage, imageops};
use serde_json::{Value, json};

use super::Edited;
use crate::error::{Error, Result};
use crate::files::png;

/// Longest side of a picture beside another, at least: small ones are enlarged by a whole factor.
const SIDE: u32 = 256;
/// Pixels between two pictures.
const GAP: u32 = 8;

impl Edited {
    /// Writes `source.png`, `edited.png`, `side-by-side.png` and, where there is one, `mask.png` into `folder` (an older
    /// one goes). Returns the files' names, and of each word of the edited prompt which of the source's it took the place of.
    ///
    /// - `pictures`: of the latents, source and edited.
    /// - `texts`: what `source.png` records, by keyword.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&self, folder: &Path, pictures: [&RgbImage; 2], texts: &[(&str, &str)]) -> Result<Value> {
        let [source, edited] = pictures;
        png::write_with_texts(&folder.join("source.png"), source, texts)?;
        png::write(&folder.join("edited.png"), edited)?;
        png::write(&folder.join("side-by-side.png"), &beside(source, edited))?;
        let mask = folder.join("mask.png");
        match &self.mask {
            Some(cells) => {
                let picture = DynamicImage::ImageLuma8(cells.picture(source.width(), source.height()));
                png::write(&mask, &picture.to_rgb8())?;
            }
            // That of an edit before is not of these pictures.
            None if mask.exists() => std::fs::remove_file(&mask).map_err(Error::io("remove", &mask))?,
            None => {}
        }
        let words = self.words.iter().map(|word| json!({ "word": word.word, "from": word.from }));
        Ok(json!({
            "source": "source.png",
            "edited": "edited.png",
            "side_by_side": "side-by-side.png",
            "mask": self.mask.as_ref().map(|_| "mask.png"),
            "words": words.collect::<Vec<Value>>(),
            "left_out": self.left_out,
            "blended": self.blended,
        }))
    }
}

/// Both, enlarged, the first at the left; white between them.
fn beside(first: &RgbImage, second: &RgbImage) -> RgbImage {
    let factor = SIDE.div_ceil(first.width().max(first.height()).max(1));
    let (width, height) = (first.width() * factor, first.height() * factor);
    let mut whole = RgbImage::from_pixel(2 * width + GAP, height, Rgb([255; 3]));
    for (picture, x) in [(first, 0), (second, width + GAP)] {
        let enlarged = imageops::resize(picture, width, height, imageops::FilterType::Nearest);
        imageops::replace(&mut whole, &enlarged, i64::from(x), 0);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_side_by_side() {
        let [dark, light] = [10, 200].map(|level| RgbImage::from_pixel(64, 32, Rgb([level; 3])));
        let whole = beside(&dark, &light);
        assert_eq!(whole.dimensions(), (2 * 256 + GAP, 128));
        let levels = [0, 255, 256, 255 + GAP, 256 + GAP, 511 + GAP].map(|x| whole.get_pixel(x, 127)[0]);
        assert_eq!(levels, [10, 10, 255, 255, 200, 200]);
    }
}
