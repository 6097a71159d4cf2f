//! `--metrics`: what is measured.

use calotype::autoencoder::lpips;
use calotype::evaluate::paired::PairedMetric;
use calotype::evaluate::set_metrics::SetMetric;
use calotype::files::sha256;
use calotype::{Error, Result};
use clap::ValueEnum;

use super::Args;
use crate::options::Context;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Fréchet distance, with standard error and bias; `fid` with Inception's features
    Fid,
    /// The same for infinitely many pictures, extrapolated
    FidInfinity,
    /// Inception Score; no reference needed
    Is,
    /// Kernel distance over random subsets
    Kid,
    /// Kernel distance with a Gaussian kernel, for CLIP's features
    Cmmd,
    /// Precision, recall, density and coverage
    Prdc,
    /// Fréchet distance of CLIP features
    FdClip,
    /// Inception Score of CLIP's zero-shot classes
    IsClip,
    /// Peak signal-to-noise ratio of pictures of the same name, in dB
    Psnr,
    /// Structural similarity of pictures of the same name
    Ssim,
    /// Structural similarity at five scales
    MsSsim,
    /// Perceptual distance of pictures of the same name, with --lpips-weights
    Lpips,
    /// Cosine of CLIP's features of pictures and of their captions in metadata.jsonl; no reference needed
    ClipScore,
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

    /// What it measures on pairs of pictures; `None` for another.
    pub fn of_pairs(self, args: &Args, context: &Context) -> Result<Option<PairedMetric>> {
        Ok(Some(match self {
            Self::Psnr => PairedMetric::Psnr,
            Self::Ssim => PairedMetric::Ssim,
            Self::MsSsim => PairedMetric::MsSsim,
            Self::Lpips if args.lpips_weights.is_empty() => {
                let expected = "torchvision's alexnet-owt-7be5be79.pth or vgg16-397923af.pth, and the linear \
                                layers alex.pth or vgg.pth of lpips";
                return Err(Error::argument("--lpips-weights", expected, "none"));
            }
            Self::Lpips => PairedMetric::Lpips {
                network: Box::new(lpips::weights::load(&args.lpips_weights, &context.device)?),
                sha256: args.lpips_weights.iter().map(|file| sha256::of_file(file)).collect::<Result<_>>()?,
                device: context.device.clone(),
            },
            _ => return Ok(None),
        }))
    }
}
