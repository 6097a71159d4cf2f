//! Structural similarity: luminance, contrast and structure of local windows.
//!
//! Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment: From Error Visibility to
//! Structural Similarity", Eq. 13.

use image::RgbImage;
use serde::Serialize;

use super::pixel::{Plane, require_comparable};
use crate::error::{Error, Result};

/// Weights of a window, separable; they sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    /// exp(−t²/(2σ²)) at t = −(size−1)/2 … (size−1)/2.
    Gaussian {
        /// Taps per axis.
        size: usize,
        /// σ in pixels.
        sigma: f64,
    },
    /// All equal.
    Uniform {
        /// Taps per axis.
        size: usize,
    },
}

/// What happens at the image border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Only windows that fit; the map is smaller by size − 1.
    Valid,
    /// The images are padded by (size − 1)/2, mirrored without repeating the edge pixel; size is odd.
    Reflect,
}

/// Divisor of local variances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covariance {
    /// E\[x²\] − E\[x\]².
    Population,
    /// The same times n/(n − 1), n = size².
    Sample,
}

/// The free choices of SSIM; values are comparable only under the same ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SsimOptions {
    /// Weights of a window.
    pub window: Window,
    /// What happens at the border.
    pub border: Border,
    /// Divisor of local variances.
    pub covariance: Covariance,
    /// C₁ = (k₁ L)² steadies the luminance.
    pub k1: f64,
    /// C₂ = (k₂ L)² steadies contrast and structure.
    pub k2: f64,
}

impl Default for SsimOptions {
    /// The paper's: 11 taps, σ = 1.5, windows that fit, k₁ = 0.01, k₂ = 0.03.
    fn default() -> Self {
        Self {
            window: Window::Gaussian { size: 11, sigma: 1.5 },
            border: Border::Valid,
            covariance: Covariance::Population,
            k1: 0.01,
            k2: 0.03,
        }
    }
}

impl Window {
    fn size(self) -> usize {
        match self {
            Self::Gaussian { size, .. } | Self::Uniform { size } => size,
        }
    }

    fn weights(self) -> Vec<f64> {
        match self {
            Self::Uniform { size } => vec![1.0 / size as f64; size],
            Self::Gaussian { size, sigma } => {
                let centre = (size as f64 - 1.0) / 2.0;
                let weight = |k: usize| (-(k as f64 - centre).powi(2) / (2.0 * sigma * sigma)).exp();
                let sum: f64 = (0..size).map(weight).sum();
                (0..size).map(|k| weight(k) / sum).collect()
            }
        }
    }
}

/// SSIM of every window.
///
/// (2 u_x u_y + C₁)(2 v_xy + C₂) / ((u_x² + u_y² + C₁)(v_x + v_y + C₂)), u local means, v local
/// (co)variances, C₁ = (k₁L)², C₂ = (k₂L)². Wang et al. 2004, Eq. 13.
///
/// - `data_range`: L, 255 for 8 bits.
///
/// # Errors
/// `Error::Shape` if the shapes differ or the window does not fit; `Error::Argument` for options
/// or a `data_range` outside their range.
pub fn ssim_map(
    reference: &Plane,
    reconstruction: &Plane,
    data_range: f64,
    options: &SsimOptions,
) -> Result<Plane> {
    Ok(similarity_maps(reference, reconstruction, data_range, options)?.ssim)
}

/// What SSIM is made of, at every window.
pub struct SimilarityMaps {
    /// Eq. 13.
    pub ssim: Plane,
    /// Its second factor, (2 v_xy + C₂)/(v_x + v_y + C₂): how alike contrast and structure are, whatever the
    /// brightness. Wang et al. 2003, "Multi-scale structural similarity", Eq. 2 and 3 with C₃ = C₂/2.
    pub contrast_structure: Plane,
}

/// SSIM and its second factor at every window; as [`ssim_map`].
///
/// # Errors
/// As [`ssim_map`].
pub fn similarity_maps(
    reference: &Plane,
    reconstruction: &Plane,
    data_range: f64,
    options: &SsimOptions,
) -> Result<SimilarityMaps> {
    require_comparable(reference, reconstruction, data_range)?;
    require_options(reference, options)?;
    let weights = options.window.weights();
    let (x, y) = match options.border {
        Border::Valid => (reference.clone(), reconstruction.clone()),
        Border::Reflect => {
            let by = (weights.len() - 1) / 2;
            (mirrored(reference, by)?, mirrored(reconstruction, by)?)
        }
    };
    let local_mean_of = |product: &dyn Fn(f64, f64) -> f64| {
        let values: Vec<f64> = x.values().iter().zip(y.values()).map(|(&x, &y)| product(x, y)).collect();
        windowed(&values, x.width(), &weights)
    };
    let (ux, uy) = (local_mean_of(&|x, _| x), local_mean_of(&|_, y| y));
    let (xx, yy, xy) =
        (local_mean_of(&|x, _| x * x), local_mean_of(&|_, y| y * y), local_mean_of(&|x, y| x * y));
    let taps = (weights.len() * weights.len()) as f64;
    let divisor = match options.covariance {
        Covariance::Population => 1.0,
        Covariance::Sample => taps / (taps - 1.0),
    };
    let (c1, c2) = ((options.k1 * data_range).powi(2), (options.k2 * data_range).powi(2));
    let similarity = |i: usize| {
        let (ux, uy) = (ux[i], uy[i]);
        let (vx, vy) = (divisor * (xx[i] - ux * ux), divisor * (yy[i] - uy * uy));
        let vxy = divisor * (xy[i] - ux * uy);
        let ssim = (2.0 * ux * uy + c1) * (2.0 * vxy + c2) / ((ux * ux + uy * uy + c1) * (vx + vy + c2));
        (ssim, (2.0 * vxy + c2) / (vx + vy + c2))
    };
    let (height, width) = (x.height() + 1 - weights.len(), x.width() + 1 - weights.len());
    let (ssim, contrast_structure) = (0..height * width).map(similarity).unzip();
    Ok(SimilarityMaps {
        ssim: Plane::new(height, width, ssim)?,
        contrast_structure: Plane::new(height, width, contrast_structure)?,
    })
}

/// Mean of a map: the SSIM of an image channel, 1 for equal ones.
pub fn mean(map: &Plane) -> f64 {
    map.values().iter().sum::<f64>() / map.values().len() as f64
}

/// SSIM of an image of several channels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SsimChannels {
    /// SSIM of each channel.
    pub per_channel: Vec<f64>,
    /// Their mean.
    pub mean: f64,
}

/// SSIM channel by channel.
///
/// # Errors
/// As [`ssim_map`]; and `Error::Shape` unless both sides have equally many channels, at least one.
pub fn ssim_channels(
    reference: &[Plane],
    reconstruction: &[Plane],
    data_range: f64,
    options: &SsimOptions,
) -> Result<SsimChannels> {
    if reference.is_empty() || reference.len() != reconstruction.len() {
        let expected = format!("{} channels, at least one", reference.len());
        return Err(Error::shape("reconstruction", expected, reconstruction.len()));
    }
    let channel = |(x, y): (&Plane, &Plane)| Ok(mean(&ssim_map(x, y, data_range, options)?));
    let per_channel = reference.iter().zip(reconstruction).map(channel).collect::<Result<Vec<f64>>>()?;
    let mean = per_channel.iter().sum::<f64>() / per_channel.len() as f64;
    Ok(SsimChannels { per_channel, mean })
}

/// SSIM of two 8-bit images with the paper's options: the mean over red, green and blue.
///
/// # Errors
/// `Error::Shape` if the sizes differ or a side is below 11 pixels.
pub fn ssim_rgb(reference: &RgbImage, reconstruction: &RgbImage) -> Result<f64> {
    let (reference, reconstruction) = (Plane::from_rgb(reference)?, Plane::from_rgb(reconstruction)?);
    Ok(ssim_channels(&reference, &reconstruction, 255.0, &SsimOptions::default())?.mean)
}

fn require_options(image: &Plane, options: &SsimOptions) -> Result<()> {
    let size = options.window.size();
    let smallest = if options.covariance == Covariance::Sample { 2 } else { 1 };
    if size < smallest || (options.border == Border::Reflect && size.is_multiple_of(2)) {
        let expected = format!("at least {smallest}, and odd for the reflecting border");
        return Err(Error::argument("size of the SSIM window", expected, size));
    }
    if let Window::Gaussian { sigma, .. } = options.window
        && !(sigma > 0.0 && sigma.is_finite())
    {
        return Err(Error::argument("sigma of the SSIM window", "a finite number above 0", sigma));
    }
    // Above 0: in flat or black windows nothing else keeps the denominator from 0.
    if let Some(bad) = [options.k1, options.k2].into_iter().find(|k| !(*k > 0.0 && k.is_finite())) {
        return Err(Error::argument("k1 and k2 of SSIM", "finite numbers above 0", bad));
    }
    if image.height() < size || image.width() < size {
        let got = format!("{} x {}", image.height(), image.width());
        return Err(Error::shape("image for SSIM", format!("at least {size} x {size} pixels"), got));
    }
    Ok(())
}

/// Padded by `by` pixels on each side, mirrored at the edge pixels.
fn mirrored(image: &Plane, by: usize) -> Result<Plane> {
    let (height, width) = (image.height() + 2 * by, image.width() + 2 * by);
    let source = |at: usize, n: usize| {
        let at = at.abs_diff(by);
        if at < n { at } else { 2 * (n - 1) - at }
    };
    let pixel = |i: usize| {
        let (row, column) = (source(i / width, image.height()), source(i % width, image.width()));
        image.values()[row * image.width() + column]
    };
    Plane::new(height, width, (0..height * width).map(pixel).collect())
}

/// Weighted means of all windows that fit, row by row; first along rows, then along columns.
fn windowed(values: &[f64], width: usize, weights: &[f64]) -> Vec<f64> {
    let dot = |taps: &[f64]| taps.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>();
    let narrow = width + 1 - weights.len();
    let along_rows: Vec<f64> =
        values.chunks_exact(width).flat_map(|row| row.windows(weights.len()).map(dot)).collect();
    let height = values.len() / width + 1 - weights.len();
    let at = |i: usize| weights.iter().enumerate().map(|(k, w)| w * along_rows[i + k * narrow]).sum::<f64>();
    (0..height * narrow).map(at).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn equal_images_score_one_and_flat_ones_their_luminance() {
        let flat = |level: u8| RgbImage::from_pixel(16, 12, Rgb([level; 3]));
        assert_eq!(ssim_rgb(&flat(100), &flat(100)).unwrap(), 1.0);
        let c1 = 2.55_f64.powi(2);
        let expected = (2.0 * 100.0 * 120.0 + c1) / (100.0_f64.powi(2) + 120.0_f64.powi(2) + c1);
        assert!((ssim_rgb(&flat(100), &flat(120)).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn noise_costs_similarity_and_order_does_not_matter() {
        let base = RgbImage::from_fn(20, 20, |x, y| Rgb([(x * 9) as u8, (y * 9) as u8, 80]));
        let noisy = RgbImage::from_fn(20, 20, |x, y| {
            let Rgb([r, g, b]) = *base.get_pixel(x, y);
            let noise = ((x * 7 + y * 13) % 40) as u8;
            Rgb([r.saturating_add(noise), g, b.saturating_add(noise)])
        });
        let found = ssim_rgb(&base, &noisy).unwrap();
        assert!(found < 0.9 && found > 0.0, "{found}");
        assert!((ssim_rgb(&noisy, &base).unwrap() - found).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let small = RgbImage::new(10, 20);
        assert_refuses(ssim_rgb(&small, &small), "image for SSIM: expected at least 11 x 11");
        let image = Plane::new(12, 12, vec![1.0; 144]).unwrap();
        let map = |options: SsimOptions| ssim_map(&image, &image, 1.0, &options);
        let (window, options) = (Window::Uniform { size: 8 }, SsimOptions::default());
        assert!(map(options).is_ok() && map(SsimOptions { window, ..options }).is_ok());
        let (size, sigma) =
            ("size of the SSIM window: expected at least 1", "sigma of the SSIM window: expected");
        assert_refuses(map(SsimOptions { window, border: Border::Reflect, ..options }), size);
        assert_refuses(map(SsimOptions { window: Window::Uniform { size: 0 }, ..options }), size);
        assert_refuses(
            map(SsimOptions { window: Window::Gaussian { size: 11, sigma: 0.0 }, ..options }),
            sigma,
        );
        assert_refuses(map(SsimOptions { k2: 0.0, ..options }), "k1 and k2 of SSIM: expected");
    }
}
