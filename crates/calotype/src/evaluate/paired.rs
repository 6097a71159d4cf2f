//! Numbers about pairs of pictures: reconstructions and their originals, matched by file name.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::picture_set::PictureSet;
use super::pixel::psnr_rgb;
use super::ssim::ssim_rgb;
use crate::data::image_folder::load_picture;
use crate::error::{Error, Result};

/// What can be measured on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairedMetric {
    /// [`psnr_rgb`].
    Psnr,
    /// [`ssim_rgb`].
    Ssim,
}

/// The mean over all pairs: the metric's name and its report. Equal pictures have an infinite PSNR, which
/// JSON does not have: the value is null then.
///
/// # Errors
/// `Error::Data` for a file without its counterpart; `Error::Io` and `Error::Format` naming a picture that
/// cannot be read; `Error::Shape` for pictures of different size.
pub fn measure_pairs(
    metric: PairedMetric,
    generated: &PictureSet,
    reference: &PictureSet,
) -> Result<(String, Value)> {
    let stem = |path: &std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (ours, theirs) = (generated.paths(), reference.paths());
    let same = |(a, b): (&std::path::PathBuf, &std::path::PathBuf)| stem(a) == stem(b);
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
    let each = pairs.par_iter().map(|(ours, theirs)| {
        let (ours, theirs) = (load_picture(ours)?, load_picture(theirs)?);
        match metric {
            PairedMetric::Psnr => psnr_rgb(&theirs, &ours),
            PairedMetric::Ssim => ssim_rgb(&theirs, &ours),
        }
    });
    let values = each.collect::<Result<Vec<f64>>>()?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let (name, protocol) = match metric {
        PairedMetric::Psnr => ("psnr", "mean of the pictures' PSNR in dB, peak 255, over RGB"),
        PairedMetric::Ssim => ("ssim", "mean of the pictures' SSIM, 11 x 11 Gaussian window, per channel"),
    };
    let report = json!({
        "value": mean, "standard_error": std / n.sqrt(), "n_generated": values.len(),
        "n_reference": values.len(), "protocol": { "definition": protocol },
    });
    Ok((name.to_owned(), report))
}
