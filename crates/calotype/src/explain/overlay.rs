//! A heat map laid over its picture.

use image::{Rgb, RgbImage};

use super::heat_map::WordHeatMap;
use crate::error::{Error, Result};

/// Share of the heat colour in the overlay; the rest is the picture in grey.
const HEAT: f32 = 0.6;

/// The colormap "inferno" (Smith and van der Walt, in matplotlib, CC0) at 17 equal distances:
/// perceptually uniform, dark is low, and its lightness alone tells the order.
const INFERNO: [[u8; 3]; 17] = [
    [0, 0, 4],
    [11, 7, 36],
    [33, 12, 74],
    [61, 9, 101],
    [87, 16, 110],
    [113, 25, 110],
    [138, 34, 106],
    [163, 44, 97],
    [188, 55, 84],
    [208, 69, 69],
    [227, 89, 51],
    [241, 113, 31],
    [249, 140, 10],
    [252, 170, 15],
    [249, 201, 50],
    [242, 232, 101],
    [252, 255, 164],
];

/// The map in colour, from its lowest value (black) to its highest (light yellow), over the picture in
/// grey, so that every colour is heat. A map that is the same everywhere is drawn as lowest.
///
/// # Errors
/// `Error::Shape` if map and picture differ in size.
pub fn overlay(image: &RgbImage, map: &WordHeatMap) -> Result<RgbImage> {
    overlay_between(image, map, extremes([map]))
}

/// Lowest and highest value of some maps.
pub fn extremes<'a>(maps: impl IntoIterator<Item = &'a WordHeatMap>) -> [f32; 2] {
    let values = maps.into_iter().flat_map(|map| &map.values);
    values.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| [low.min(*value), high.max(*value)])
}

/// [`overlay`] with `low` drawn as lowest and `high` as highest: maps that are drawn between the same two compare.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_between(image: &RgbImage, map: &WordHeatMap, [low, high]: [f32; 2]) -> Result<RgbImage> {
    let (width, height) = image.dimensions();
    let fits = (map.height, map.width) == (height as usize, width as usize);
    if !fits || map.values.len() != map.height * map.width {
        let got = format!("{} × {} with {} values", map.height, map.width, map.values.len());
        return Err(Error::shape("heat map of a picture", format!("{height} × {width}"), got));
    }
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    let mut blended = image.clone();
    for (pixel, value) in blended.pixels_mut().zip(&map.values) {
        let heat = inferno((value - low) * scale);
        let grey = luma(pixel);
        *pixel = Rgb(heat.map(|h| (HEAT * h + (1.0 - HEAT) * grey).round_ties_even() as u8));
    }
    Ok(blended)
}

/// Colour of `t` in [0, 1], 0 to 255 per channel.
fn inferno(t: f32) -> [f32; 3] {
    let position = t.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f32;
    let index = (position as usize).min(INFERNO.len() - 2);
    let weight = position - index as f32;
    std::array::from_fn(|channel| {
        let (low, high) = (INFERNO[index][channel], INFERNO[index + 1][channel]);
        f32::from(low) * (1.0 - weight) + f32::from(high) * weight
    })
}

/// ITU-R BT.601 luma, 0 to 255.
fn luma(pixel: &Rgb<u8>) -> f32 {
    let [r, g, b] = pixel.0.map(f32::from);
    0.299 * r + 0.587 * g + 0.114 * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn map(height: usize, width: usize, values: &[f32]) -> WordHeatMap {
        WordHeatMap { word: "cat".into(), height, width, values: values.to_vec() }
    }

    #[test]
    fn lowest_is_dark_and_highest_is_light() {
        let white = RgbImage::from_pixel(3, 1, Rgb([255; 3]));
        let pixels = overlay(&white, &map(1, 3, &[0.2, 0.5, 0.3])).unwrap();
        let expected = |heat: [u8; 3]| Rgb(heat.map(|h| (0.6 * f32::from(h) + 0.4 * 255.0).round() as u8));
        assert_eq!(*pixels.get_pixel(0, 0), expected([0, 0, 4]));
        assert_eq!(*pixels.get_pixel(1, 0), expected([252, 255, 164]));
    }

    #[test]
    fn lightness_rises_along_the_colormap() {
        let lightness = |i: usize| luma(&Rgb(inferno(i as f32 / 100.0).map(|c| c as u8)));
        assert!((0..100).all(|i| lightness(i + 1) >= lightness(i)));
    }

    #[test]
    fn uniform_map_is_drawn_and_wrong_size_refused() {
        let image = RgbImage::new(2, 2);
        let flat = overlay(&image, &map(2, 2, &[0.25; 4])).unwrap();
        assert!(flat.pixels().all(|pixel| pixel == flat.get_pixel(0, 0)));
        assert_refuses(
            overlay(&image, &map(1, 4, &[0.25; 4])),
            "heat map of a picture: expected 2 × 2, got 1 × 4",
        );
        let short = overlay(&image, &map(2, 2, &[0.25; 3]));
        assert_refuses(short, "heat map of a picture: expected 2 × 2, got 2 × 2 with 3 values");
    }
}
