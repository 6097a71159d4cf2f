//! What is shown while a picture is made: what the network takes it for, x̂₀, after each step.

use calotype::model::Model;
use calotype::pipeline::Step;
use image::imageops::{FilterType, thumbnail};
use image::{RgbImage, imageops};

use crate::given::png;

/// Longest side of a preview, in pixels.
const MOST_SIDE: u32 = 256;
/// Pictures of up to so many pixels are shown after every step.
const SMALL: usize = 128 * 128;
/// Pictures of up to so many after every fourth; larger ones not at all, for decoding takes longer than a step.
const MIDDLE: usize = 256 * 256;

/// After how many steps pictures of this size are shown; `None` for never.
pub(super) fn every(width: usize, height: usize) -> Option<usize> {
    match width * height {
        pixels if pixels <= SMALL => Some(1),
        pixels if pixels <= MIDDLE => Some(4),
        _ => None,
    }
}

/// PNGs of all pictures of a step; `None` where the network's output says nothing of x̂₀ or is no picture.
pub(super) fn of_step(model: &Model, step: &Step) -> Option<Vec<Vec<u8>>> {
    // The last step's result is the picture.
    let latents = if step.done == step.steps { step.x.clone() } else { step.x_0().ok()? };
    let pictures = model.decode(latents, false).ok()?;
    pictures.iter().map(|picture| png(&small(picture)).ok()).collect()
}

fn small(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= MOST_SIDE {
        return picture.clone();
    }
    let side = |side: u32| (side * MOST_SIDE / longest).max(1);
    thumbnail(picture, side(picture.width()), side(picture.height()))
}

/// A picture for lists: at most `side` pixels wide and high.
pub fn thumbnail_of(picture: &RgbImage, side: u32) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= side {
        return picture.clone();
    }
    let scaled = |of: u32| (of * side / longest).max(1);
    imageops::resize(picture, scaled(picture.width()), scaled(picture.height()), FilterType::Triangle)
}

/// Previews side by side, the first step's at the left.
pub(super) fn strip(previews: &[std::sync::Arc<Vec<u8>>]) -> Option<Vec<u8>> {
    let pictures: Vec<RgbImage> = previews
        .iter()
        .map(|png| image::load_from_memory(png).ok().map(|picture| picture.into_rgb8()))
        .collect::<Option<_>>()?;
    let (width, height) = pictures.first()?.dimensions();
    let mut strip = RgbImage::new(width * pictures.len() as u32, height);
    for (place, picture) in pictures.iter().enumerate() {
        imageops::replace(&mut strip, picture, i64::from(width) * place as i64, 0);
    }
    png(&strip).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image::Rgb;

    use super::*;

    #[test]
    fn steps_lie_side_by_side() {
        let of = |level: u8| Arc::new(png(&RgbImage::from_pixel(3, 2, Rgb([level; 3]))).unwrap());
        let strip = image::load_from_memory(&strip(&[of(10), of(20)]).unwrap()).unwrap().into_rgb8();
        assert_eq!(strip.dimensions(), (6, 2));
        assert_eq!((strip.get_pixel(2, 1)[0], strip.get_pixel(3, 0)[0]), (10, 20));
        assert_eq!(super::strip(&[]), None);
    }

    #[test]
    fn large_pictures_become_small() {
        assert_eq!(small(&RgbImage::new(1024, 512)).dimensions(), (256, 128));
        assert_eq!(small(&RgbImage::new(64, 64)).dimensions(), (64, 64));
        assert_eq!(thumbnail_of(&RgbImage::new(64, 640), 128).dimensions(), (12, 128));
        assert_eq!([(64, 64), (256, 256), (512, 512)].map(|(w, h)| every(w, h)), [Some(1), Some(4), None]);
    }
}
