//! Numbers about pairs of pictures: reconstructions and their originals, matched by file name.

use std::path::PathBuf;

use burn::tensor::Device;
use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::ms_ssim::ms_ssim_rgb;
use super::picture_set::PictureSet;
use super::pixel::psnr_rgb;
use super::ssim::ssim_rgb;
use crate::autoencoder::lpips::Lpips;
use crate::data::image_folder::load_picture;
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};

/// What can be measured on a pair.
#[derive(Debug)]
pub enum PairedMetric {
    /// [`psnr_rgb`].
    Psnr,
    /// [`ssim_rgb`].
    Ssim,
    /// [`ms_ssim_rgb`].
    MsSsim,
    /// [`Lpips::distance`].
    Lpips {
        /// With its weights.
        network: Box<Lpips>,
        /// Of the weight files.
        sha256: Vec<String>,
        /// Where it runs.
        device: Device,
    },
}

impl PairedMetric {
    fn of(&self, ours: &RgbImage, theirs: &RgbImage) -> Result<f64> {
        match self {
            Self::Psnr => psnr_rgb(theirs, ours),
            Self::Ssim => ssim_rgb(theirs, ours),
            Self::MsSsim => ms_ssim_rgb(theirs, ours),
            Self::Lpips { network, device, .. } => {
                let tensor = |picture: &RgbImage| to_tensor(std::slice::from_ref(picture), device);
                Ok(network.distance(tensor(ours)?, tensor(theirs)?)?.into_data().iter::<f64>().sum())
            }
        }
    }

    /// Its name, and what its number depends on.
    fn protocol(&self) -> (&'static str, Value) {
        match self {
            Self::Psnr => {
                ("psnr", json!({ "definition": "mean of the pictures' PSNR in dB, peak 255, over RGB" }))
            }
            Self::Ssim => {
                ("ssim", json!({ "definition": "mean over pictures and channels, 11 x 11 Gaussian window" }))
            }
            Self::MsSsim => (
                "ms-ssim",
                json!({ "definition": "mean over pictures and channels, five scales, as pytorch-msssim" }),
            ),
            Self::Lpips { network, sha256, .. } => (
                "lpips",
                json!({ "definition": "mean over pictures, version 0.1", "backbone": network.backbone().name(), "weights_sha256": sha256 }),
            ),
        }
    }
}

/// The mean over all pairs: the metric's name and its report. Equal pictures have an infinite PSNR, which
/// JSON does not have: the value is null then.
///
/// # Errors
/// `Error::Data` for a file without its counterpart; `Error::Io` and `Error::Format` naming a picture that
/// cannot be read; `Error::Shape` for pictures of different size, or too small for the metric.
pub fn measure_pairs(
    metric: &PairedMetric,
    generated: &PictureSet,
    reference: &PictureSet,
) -> Result<(String, Value)> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (ours, theirs) = (generated.paths(), reference.paths());
    let same = |(a, b): (&PathBuf, &PathBuf)| stem(a) == stem(b);
    if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(same) {
        let without = ours.iter().zip(theirs).find(|pair| !same(*pair)).map(|(path, _)| path.display());
        return Err(Error::Data {
            what: "pairs of pictures".into(),
            expected: format!(
                "the same file names on both sides ({} and {} files)",
                ours.len(),
                theirs.len()
            ),
            got: without
                .map_or("too many on one side".into(), |path| format!("`{path}` without counterpart")),
        });
    }
    let pairs: Vec<_> = ours.iter().zip(theirs).collect();
    let value =
        |(ours, theirs): &(&PathBuf, &PathBuf)| metric.of(&load_picture(ours)?, &load_picture(theirs)?);
    let values = match metric {
        // A network is on all cores by itself, and its features are large.
        PairedMetric::Lpips { .. } => pairs.iter().map(value).collect::<Result<Vec<f64>>>()?,
        _ => pairs.par_iter().map(value).collect::<Result<Vec<f64>>>()?,
    };
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let (name, protocol) = metric.protocol();
    let report = json!({
        "value": mean, "standard_error": std / n.sqrt(), "n_generated": values.len(),
        "n_reference": values.len(), "protocol": protocol,
    });
    Ok((name.to_owned(), report))
}
