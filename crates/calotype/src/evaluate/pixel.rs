//! How far two images are apart, pixel by pixel: MSE, MAE, PSNR.

use image::RgbImage;
use serde::Serialize;
use serde_json::{Value, json};

pub use super::ssim::ssim_rgb;
use crate::error::{Error, Result};

/// One channel of an image, `[height, width]`, row by row, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Plane {
    /// A channel of `height` × `width` values.
    ///
    /// # Errors
    /// `Error::Shape` unless there are height × width > 0 values; `Error::Data` if one is not finite.
    pub fn new(height: usize, width: usize, values: Vec<f64>) -> Result<Self> {
        if values.is_empty() || height.checked_mul(width) != Some(values.len()) {
            let expected = format!("{height} x {width} pixels, at least one");
            return Err(Error::shape("image", expected, values.len()));
        }
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(Error::data("image", "finite pixels", value)),
            None => Ok(Self { height, width, values }),
        }
    }

    /// Red, green and blue of an image, each in 0..=255.
    ///
    /// # Errors
    /// `Error::Shape` for an image without pixels.
    pub fn from_rgb(image: &RgbImage) -> Result<[Self; 3]> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let channel =
            |c: usize| Self::new(height, width, image.pixels().map(|pixel| f64::from(pixel.0[c])).collect());
        Ok([channel(0)?, channel(1)?, channel(2)?])
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// The errors of a reconstruction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PixelError {
    /// Mean squared difference.
    pub mse: f64,
    /// Mean absolute difference.
    pub mae: f64,
    /// 10 log₁₀(P²/mse) in dB, infinite for equal images.
    pub psnr_db: f64,
}

/// MSE, MAE and PSNR of two channels; `data_range` is the peak P (255 for 8 bits).
///
/// # Errors
/// `Error::Shape` if the shapes differ; `Error::Argument` unless `data_range` is finite and above 0.
pub fn pixel_error(reference: &Plane, reconstruction: &Plane, data_range: f64) -> Result<PixelError> {
    require_comparable(reference, reconstruction, data_range)?;
    let n = reference.values.len() as f64;
    let differences = || reference.values.iter().zip(&reconstruction.values).map(|(x, y)| x - y);
    let mse = differences().map(|d| d * d).sum::<f64>() / n;
    let mae = differences().map(f64::abs).sum::<f64>() / n;
    Ok(PixelError { mse, mae, psnr_db: psnr(mse, data_range)? })
}

/// Peak signal-to-noise ratio in dB, 10 log₁₀(P²/mse); infinite for mse = 0.
///
/// # Errors
/// `Error::Argument` unless mse ≥ 0 and `data_range` > 0, both finite.
pub fn psnr(mse: f64, data_range: f64) -> Result<f64> {
    require_data_range(data_range)?;
    if !(mse >= 0.0 && mse.is_finite()) {
        return Err(Error::argument("mse", "a finite number of at least 0", mse));
    }
    Ok(10.0 * (data_range * data_range / mse).log10())
}

/// A PSNR as JSON has it: equal pictures have an infinite one, which is `"Infinity"`, not a number.
pub fn psnr_in_json(decibels: f64) -> Value {
    if decibels == f64::INFINITY { json!("Infinity") } else { json!(decibels) }
}

/// PSNR in dB of two 8-bit images, from the MSE over all pixels and the three channels.
///
/// # Errors
/// `Error::Shape` if the sizes differ or there are no pixels.
pub fn psnr_rgb(reference: &RgbImage, reconstruction: &RgbImage) -> Result<f64> {
    let (reference, reconstruction) = (Plane::from_rgb(reference)?, Plane::from_rgb(reconstruction)?);
    let mut mse = 0.0;
    for (x, y) in reference.iter().zip(&reconstruction) {
        mse += pixel_error(x, y, 255.0)?.mse / 3.0;
    }
    psnr(mse, 255.0)
}

pub(super) fn require_comparable(reference: &Plane, reconstruction: &Plane, data_range: f64) -> Result<()> {
    let size = |plane: &Plane| format!("{} x {}", plane.height, plane.width);
    if (reference.height, reference.width) != (reconstruction.height, reconstruction.width) {
        return Err(Error::shape("reconstruction", size(reference), size(reconstruction)));
    }
    require_data_range(data_range)
}

fn require_data_range(data_range: f64) -> Result<()> {
    if !(data_range > 0.0 && data_range.is_finite()) {
        return Err(Error::argument("data_range", "a finite number above 0", data_range));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn one_level_everywhere_is_48_13_db() {
        let dark = RgbImage::from_pixel(16, 12, Rgb([10, 20, 30]));
        let light = RgbImage::from_pixel(16, 12, Rgb([11, 21, 31]));
        assert!((psnr_rgb(&dark, &light).unwrap() - 20.0 * 255.0_f64.log10()).abs() < 1e-12);
        assert_eq!(psnr_rgb(&dark, &dark).unwrap(), f64::INFINITY);
        assert_refuses(
            psnr_rgb(&dark, &RgbImage::new(12, 16)),
            "reconstruction: expected 12 x 16, got 16 x 12",
        );
    }

    #[test]
    fn an_error_in_one_channel_counts_a_third() {
        let dark = RgbImage::from_pixel(4, 4, Rgb([10, 20, 30]));
        let red = RgbImage::from_pixel(4, 4, Rgb([13, 20, 30]));
        let expected = 10.0 * (255.0_f64.powi(2) / 3.0).log10();
        assert!((psnr_rgb(&dark, &red).unwrap() - expected).abs() < 1e-12);
    }
}
