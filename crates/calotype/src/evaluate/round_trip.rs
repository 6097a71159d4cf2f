//! A picture through an autoencoder and back.

use burn::tensor::Device;
use image::RgbImage;

use super::pixel::{psnr_rgb, ssim_rgb};
use crate::autoencoder::Vae;
use crate::data::tensors::{to_images, to_tensor};
use crate::error::Result;

/// What comes back, and how near it is.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    /// The mean of the posterior decoded.
    pub reconstruction: RgbImage,
    /// In dB.
    pub psnr: f64,
    /// Structural similarity.
    pub ssim: f64,
}

/// Encodes and decodes a picture.
///
/// # Errors
/// `Error::Shape` for a size that the autoencoder or a metric cannot take.
pub fn round_trip(vae: &Vae, original: &RgbImage, device: &Device) -> Result<RoundTrip> {
    let latents = vae.encode(to_tensor(std::slice::from_ref(original), device)?, None)?;
    let reconstruction = to_images(vae.decode(latents))?.swap_remove(0);
    let (psnr, ssim) = (psnr_rgb(original, &reconstruction)?, ssim_rgb(original, &reconstruction)?);
    Ok(RoundTrip { reconstruction, psnr, ssim })
}
