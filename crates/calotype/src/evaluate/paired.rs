//! Numbers about pairs of pictures: reconstructions and their originals, matched by file name.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::ms_ssim::ms_ssim_rgb;
use super::picture_set::{Decoded, Decoding, PictureSet, SetFacts, decode};
use super::pixel::{psnr_in_json, psnr_rgb};
use super::ssim::ssim_rgb;
use crate::autoencoder::lpips::Lpips;
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
    fn of(&self, Pair { generated: ours, reference: theirs, .. }: &Pair) -> Result<f64> {
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

    /// Its number for each pair, in order.
    fn of_pairs(&self, pairs: &[Pair]) -> Result<Vec<f64>> {
        let value = |pair: &Pair| self.of(pair).map_err(|error| pair.named(error));
        match self {
            // A network is on all cores by itself, and its features are large.
            Self::Lpips { .. } => pairs.iter().map(value).collect(),
            _ => pairs.par_iter().map(value).collect(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.protocol().0
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
                json!({
                    "definition": "mean over pictures, version 0.1", "backbone": network.backbone().name(),
                    "weights_sha256": sha256,
                }),
            ),
        }
    }

    /// Name and report of these numbers, one for each pair.
    fn report(&self, values: &[f64]) -> Value {
        let (mean, error) = mean_and_error(values);
        let (_, mut protocol) = self.protocol();
        protocol["pictures"] = json!("upright by EXIF, transparency laid over white, 8 bits");
        protocol["calotype"] = json!(env!("CARGO_PKG_VERSION"));
        let mut report = json!({
            "value": psnr_in_json(mean), "standard_error": error, "n_generated": values.len(),
            "n_reference": values.len(), "protocol": protocol,
        });
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        if finite.len() < values.len() {
            let (mean, error) = mean_and_error(&finite);
            report["equal_pairs"] = json!(values.len() - finite.len());
            report["value_of_different_pairs"] = json!(mean);
            report["standard_error_of_different_pairs"] = json!(error);
        }
        report
    }
}

/// The mean and its standard error; not finite where there are too few values, or a value is not.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    (mean, std / n.sqrt())
}

/// Two pictures of the same name.
struct Pair<'a> {
    /// Of the generated and of the reference side.
    files: [&'a Path; 2],
    generated: RgbImage,
    reference: RgbImage,
}

impl Pair<'_> {
    fn name(&self) -> String {
        let [generated, reference] = self.files.map(Path::display);
        format!("`{generated}` and `{reference}`")
    }

    /// The same error, with the files that it is about.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Shape { what, expected, got } => {
                Error::Shape { what: format!("{}: {what}", self.name()), expected, got }
            }
            other => other,
        }
    }

    fn require_same_size(&self) -> Result<()> {
        let [generated, reference] = [&self.generated, &self.reference].map(RgbImage::dimensions);
        if generated == reference {
            return Ok(());
        }
        let pixels = |(width, height): (u32, u32)| format!("{width} x {height} pixels");
        let expected = format!("two pictures of the same size, {} of the reference", pixels(reference));
        Err(Error::shape(self.name(), expected, format!("{} generated", pixels(generated))))
    }
}

/// What [`measure_pairs`] finds.
#[derive(Debug)]
pub struct OfPairs {
    /// Each metric's name, and its report, or why it has none: pictures may be too small for it.
    pub reports: Vec<(String, Result<Value>)>,
    /// What was read on the generated side.
    pub generated: SetFacts,
    /// What was read on the reference side.
    pub reference: SetFacts,
}

/// The mean of each metric over all pairs, read as [`Decoding::Upright`], `batch` pairs at a time. Equal
/// pictures have an infinite PSNR, which JSON does not have: then the value is `"Infinity"`, `equal_pairs` says how many
/// pairs are equal, and `value_of_different_pairs` is the mean of the others.
///
/// # Errors
/// `Error::Data` for a file without its counterpart, or if fewer than 2 pairs are left; `Error::Io` and
/// `Error::Format` naming a picture that cannot be read, unless `skip_broken`, which leaves its pair out;
/// `Error::Shape`, naming both files, for pictures of different size.
pub fn measure_pairs(
    metrics: &[PairedMetric],
    generated: &PictureSet,
    reference: &PictureSet,
    batch: usize,
    skip_broken: bool,
) -> Result<OfPairs> {
    let pairs = matched(generated, reference)?;
    let (mut of_generated, mut of_reference) = (generated.facts(), reference.facts());
    let mut values: Vec<Result<Vec<f64>>> = metrics.iter().map(|_| Ok(vec![])).collect();
    for batch in pairs.chunks(batch.max(1)) {
        let read = |path: &Path| decode(path, Decoding::Upright);
        let decoded: Vec<[Result<Decoded>; 2]> =
            batch.par_iter().map(|(ours, theirs)| [read(ours), read(theirs)]).collect();
        let mut whole = Vec::with_capacity(batch.len());
        for ((ours, theirs), decoded) in batch.iter().zip(decoded) {
            match decoded {
                [Ok(x), Ok(y)] => {
                    let (generated, reference) = (of_generated.count(x), of_reference.count(y));
                    let pair = Pair { files: [ours, theirs], generated, reference };
                    pair.require_same_size()?;
                    whole.push(pair);
                }
                [x, y] if skip_broken => {
                    of_generated.broken.extend(x.err().map(|_| ours.display().to_string()));
                    of_reference.broken.extend(y.err().map(|_| theirs.display().to_string()));
                }
                [Err(error), _] | [_, Err(error)] => return Err(error),
            }
        }
        for (metric, values) in metrics.iter().zip(&mut values) {
            let Ok(all) = values else { continue };
            match metric.of_pairs(&whole) {
                Ok(more) => all.extend(more),
                Err(reason) => *values = Err(reason),
            }
        }
        if values.iter().all(Result::is_err) {
            break; // nothing is left to measure
        }
    }
    if of_generated.n < 2 && values.iter().any(Result::is_ok) {
        return Err(Error::data("pairs of pictures", "at least 2 that can be read", of_generated.n));
    }
    let report = |(metric, values): (&PairedMetric, Result<Vec<f64>>)| {
        (metric.name().to_owned(), values.map(|values| metric.report(&values)))
    };
    let reports = metrics.iter().zip(values).map(report).collect();
    Ok(OfPairs { reports, generated: of_generated, reference: of_reference })
}

/// Files of the same name but for the ending, in order.
///
/// # Errors
/// `Error::Data` for a file without its counterpart.
pub(super) fn matched<'a>(
    generated: &'a PictureSet,
    reference: &'a PictureSet,
) -> Result<Vec<(&'a PathBuf, &'a PathBuf)>> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (ours, theirs) = (generated.paths(), reference.paths());
    let same = |(a, b): (&PathBuf, &PathBuf)| stem(a) == stem(b);
    if ours.len() == theirs.len() && ours.iter().zip(theirs).all(same) {
        return Ok(ours.iter().zip(theirs).collect());
    }
    let without = ours.iter().zip(theirs).find(|pair| !same(*pair)).map(|(path, _)| path.display());
    Err(Error::data(
        "pairs of pictures",
        format!("the same file names on both sides ({} and {} files)", ours.len(), theirs.len()),
        without.map_or("too many on one side".into(), |path| format!("`{path}` without counterpart")),
    ))
}
