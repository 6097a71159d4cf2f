//! The one list of what can be measured of pictures.

use std::path::PathBuf;

use burn::tensor::Device;

use super::paired::PairedMetric;
use super::set_metrics::SetMetric;
use crate::autoencoder::lpips;
use crate::error::{Error, Result};
use crate::files::sha256;
use crate::named::named_enum;

named_enum! {
    /// What is measured.
    pub enum Metric: "metric" {
        Fid = "fid": "Fréchet distance, with standard error and bias; `fid` with Inception's features",
        FidInfinity = "fid-infinity": "The same for infinitely many pictures, extrapolated",
        Is = "is": "Inception Score; no reference needed",
        Kid = "kid": "Kernel distance over random subsets",
        Cmmd = "cmmd": "Kernel distance with a Gaussian kernel, for CLIP's features",
        Prdc = "prdc": "Precision, recall, density and coverage",
        FdClip = "fd-clip": "Fréchet distance of CLIP features",
        IsClip = "is-clip": "Inception Score of CLIP's zero-shot classes",
        Psnr = "psnr": "Peak signal-to-noise ratio of pictures of the same name, in dB",
        Ssim = "ssim": "Structural similarity of pictures of the same name",
        MsSsim = "ms-ssim": "Structural similarity at five scales",
        Lpips = "lpips": "Perceptual distance of pictures of the same name; needs weights",
        ClipScore = "clip-score":
            "Cosine of CLIP's features of pictures and of their captions in metadata.jsonl; no reference needed",
    }
}

impl Metric {
    /// What it measures on the features of sets; `None` for one of single pictures or pairs.
    pub fn of_sets(self) -> Option<SetMetric> {
        Some(match self {
            Self::Fid | Self::FdClip => SetMetric::Frechet,
            Self::FidInfinity => SetMetric::FrechetInfinity,
            Self::Is | Self::IsClip => SetMetric::InceptionScore,
            Self::Kid => SetMetric::Kid,
            Self::Cmmd => SetMetric::Cmmd,
            Self::Prdc => SetMetric::Prdc,
            Self::Psnr | Self::Ssim | Self::MsSsim | Self::Lpips | Self::ClipScore => return None,
        })
    }

    /// Whether it is one of pairs of pictures.
    pub fn is_of_pairs(self) -> bool {
        matches!(self, Self::Psnr | Self::Ssim | Self::MsSsim | Self::Lpips)
    }

    /// What it measures on pairs of pictures; `None` for another. `lpips_weights`: the files of LPIPS.
    ///
    /// # Errors
    /// `Error::Argument` for LPIPS without files; those of reading them.
    pub fn of_pairs(self, lpips_weights: &[PathBuf], device: &Device) -> Result<Option<PairedMetric>> {
        Ok(Some(match self {
            Self::Psnr => PairedMetric::Psnr,
            Self::Ssim => PairedMetric::Ssim,
            Self::MsSsim => PairedMetric::MsSsim,
            Self::Lpips if lpips_weights.is_empty() => {
                let expected = "torchvision's alexnet-owt-7be5be79.pth or vgg16-397923af.pth, and the linear \
                                layers alex.pth or vgg.pth of lpips";
                return Err(Error::argument("lpips_weights", expected, "none"));
            }
            Self::Lpips => PairedMetric::Lpips {
                network: Box::new(lpips::weights::load(lpips_weights, device)?),
                sha256: lpips_weights.iter().map(|file| sha256::of_file(file)).collect::<Result<_>>()?,
                device: device.clone(),
            },
            _ => return Ok(None),
        }))
    }
}
