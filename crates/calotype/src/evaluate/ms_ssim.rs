//! Structural similarity at five scales.
//!
//! Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity for image quality assessment", Eq. 7.

use image::RgbImage;

use super::pixel::Plane;
use super::ssim::{SsimOptions, mean, similarity_maps};
use crate::error::{Error, Result};

/// How much each scale counts, the finest first. Section 3.2.
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// The smallest side at which a window fits into the coarsest scale, as the usual programs ask.
const SMALLEST: u32 = 161;

/// MS-SSIM of two 8-bit images: the mean over red, green and blue, 1 for equal ones.
///
/// Contrast and structure of the four finer scales and SSIM of the coarsest, negative ones as 0, each to the
/// power of its weight, multiplied. From scale to scale a pixel is the mean of 2 × 2; an odd side gets a row
/// of zeros before and after, as in pytorch-msssim, with which numbers are comparable.
///
/// # Errors
/// `Error::Shape` if the sizes differ or a side is below 161 pixels.
pub fn ms_ssim_rgb(reference: &RgbImage, reconstruction: &RgbImage) -> Result<f64> {
    if reference.width().min(reference.height()) < SMALLEST {
        let got = format!("{} x {}", reference.width(), reference.height());
        return Err(Error::shape(
            "image for MS-SSIM",
            format!("at least {SMALLEST} x {SMALLEST} pixels"),
            got,
        ));
    }
    let (x, y) = (Plane::from_rgb(reference)?, Plane::from_rgb(reconstruction)?);
    let channels = x.into_iter().zip(y).map(|(x, y)| ms_ssim_channel(x, y));
    let channels = channels.collect::<Result<Vec<f64>>>()?;
    Ok(channels.iter().sum::<f64>() / channels.len() as f64)
}

fn ms_ssim_channel(mut x: Plane, mut y: Plane) -> Result<f64> {
    let mut product = 1.0;
    for (scale, weight) in WEIGHTS.iter().enumerate() {
        let maps = similarity_maps(&x, &y, 255.0, &SsimOptions::default())?;
        let coarsest = scale + 1 == WEIGHTS.len();
        let similarity = mean(if coarsest { &maps.ssim } else { &maps.contrast_structure });
        product *= similarity.max(0.0).powf(*weight);
        if !coarsest {
            (x, y) = (halved(&x)?, halved(&y)?);
        }
    }
    Ok(product)
}

/// Means of 2 × 2 pixels; along an odd axis there is a zero before the first pixel and after the last.
fn halved(image: &Plane) -> Result<Plane> {
    let (height, width) = (image.height(), image.width());
    let (top, left) = (height % 2, width % 2);
    let pixel = |row: usize, column: usize| match (row.checked_sub(top), column.checked_sub(left)) {
        (Some(row), Some(column)) if row < height && column < width => image.values()[row * width + column],
        _ => 0.0,
    };
    let (half_height, half_width) = (height / 2 + top, width / 2 + left);
    let mean = |i: usize| {
        let (row, column) = (2 * (i / half_width), 2 * (i % half_width));
        let sum = pixel(row, column) + pixel(row, column + 1);
        (sum + pixel(row + 1, column) + pixel(row + 1, column + 1)) / 4.0
    };
    Plane::new(half_height, half_width, (0..half_height * half_width).map(mean).collect())
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn equal_images_score_one_and_flat_ones_their_luminance_at_the_coarsest_scale() {
        let flat = |level: u8| RgbImage::from_pixel(176, 176, Rgb([level; 3]));
        assert_eq!(ms_ssim_rgb(&flat(100), &flat(100)).unwrap(), 1.0);
        let c1 = 2.55_f64.powi(2);
        let luminance: f64 = (2.0 * 100.0 * 120.0 + c1) / (100.0_f64.powi(2) + 120.0_f64.powi(2) + c1);
        let found = ms_ssim_rgb(&flat(100), &flat(120)).unwrap();
        assert!((found - luminance.powf(0.1333)).abs() < 1e-9, "{found}");
    }

    #[test]
    fn an_odd_axis_has_zeros_outside() {
        let image = Plane::new(2, 3, vec![4.0, 8.0, 12.0, 0.0, 4.0, 8.0]).unwrap();
        let half = halved(&image).unwrap();
        assert_eq!((half.height(), half.width()), (1, 2));
        assert_eq!(half.values(), [1.0, 8.0]);
    }

    #[test]
    fn small_images_are_refused() {
        let image = RgbImage::new(161, 160);
        assert!(ms_ssim_rgb(&image, &image).unwrap_err().to_string().contains("161"));
    }
}
