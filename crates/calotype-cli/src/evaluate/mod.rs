//! `calotype evaluate`

use std::path::{Path, PathBuf};

use calotype::autoencoder::lpips;
use calotype::evaluate::extractor::Extractor;
use calotype::evaluate::frechet::{Gaussian, frechet_distance};
use calotype::evaluate::inception_score::{SplitRule, from_logits};
use calotype::evaluate::paired::{PairedMetric, measure_pairs};
use calotype::evaluate::picture_set::{PictureSet, warnings};
use calotype::evaluate::protocol::Protocol;
use calotype::evaluate::set_metrics::{SetMetric, Settings, measure};
use calotype::evaluate::side::Side;
use calotype::formats::atomic;
use calotype::trainer::Progress;
use calotype::{Error, Result};
use clap::ValueEnum;
use image::RgbImage;
use serde_json::{Map, Value};

use self::extractors::{ExtractorName, clip_extractor};
use crate::message;
use crate::options::Context;

mod extractors;

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
}

impl Metric {
    /// What it measures on the features of sets; `None` for one of pairs of pictures.
    fn of_sets(self) -> Option<SetMetric> {
        Some(match self {
            Self::Fid | Self::FdClip => SetMetric::Frechet,
            Self::FidInfinity => SetMetric::FrechetInfinity,
            Self::Is | Self::IsClip => SetMetric::InceptionScore,
            Self::Kid => SetMetric::Kid,
            Self::Cmmd => SetMetric::Cmmd,
            Self::Prdc => SetMetric::Prdc,
            Self::Psnr | Self::Ssim | Self::MsSsim | Self::Lpips => return None,
        })
    }

    /// What it measures on pairs of pictures; `None` for one of sets.
    fn of_pairs(self, args: &Args, context: &Context) -> Result<Option<PairedMetric>> {
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
                sha256: args.lpips_weights.iter().map(|file| atomic::sha256(file)).collect::<Result<_>>()?,
                device: context.device.clone(),
            },
            _ => return Ok(None),
        }))
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// Generated pictures: a folder, or an .npz of features or statistics
    #[arg(long, value_name = "DIR|NPZ", required_unless_present = "merge")]
    generated: Option<PathBuf>,
    /// Reference pictures, likewise
    #[arg(long, value_name = "DIR|NPZ")]
    reference: Option<PathBuf>,
    /// What turns a picture into features: inception, clip, or FILE.onnx with its preprocessing in FILE.toml
    /// [default: clip if --weights is a folder, inception otherwise]
    #[arg(long, value_name = "NAME|ONNX")]
    extractor: Option<ExtractorName>,
    /// Inception's weights (.pth or .safetensors), or a model folder with clip/ and tokenizer/
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Weights of LPIPS: AlexNet's or VGG-16's of torchvision, and its linear layers, separated by a comma
    #[arg(long, value_delimiter = ',', value_name = "FILES")]
    lpips_weights: Vec<PathBuf>,
    /// How pictures become Inception's input: tf-fid (torch-fidelity), pytorch-fid or clean
    #[arg(long, default_value_t = Protocol::TfFid)]
    protocol: Protocol,
    /// Which of Inception's features: 64, 192, 768 or 2048 numbers
    #[arg(long, default_value_t = 2048, value_name = "N")]
    features: usize,
    /// Metrics, separated by commas [default: fid,is,kid,prdc; with clip fd-clip,is-clip; with an ONNX file fid,kid,prdc]
    #[arg(long, value_enum, value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// Classes of CLIP's score, separated by commas [default: the 40 nouns of emoji-scenes]
    #[arg(long, value_delimiter = ',', value_name = "TEXTS")]
    classes: Vec<String>,
    /// Splits of the Inception Score [default: 10; with clip 1]
    #[arg(long, value_name = "N")]
    splits: Option<usize>,
    /// Subsets of KID
    #[arg(long, default_value_t = 100, value_name = "N")]
    kid_subsets: usize,
    /// Pictures in a subset of KID, at most those of the smaller side
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kid_subset_size: usize,
    /// Neighbours of precision, recall, density and coverage
    #[arg(long, default_value_t = 3)]
    k: usize,
    /// Seed of shuffles and subsets
    #[arg(long, default_value_t = 2020)]
    seed: u32,
    /// Pictures in memory at a time; changes no number
    #[arg(long, default_value_t = 16, value_name = "N")]
    batch: usize,
    /// Leave out pictures that cannot be read, and count them
    #[arg(long)]
    skip_broken: bool,
    /// Write the statistics of the generated side as .npz
    #[arg(long, value_name = "FILE")]
    stats_out: Option<PathBuf>,
    /// Merge statistics of parts of a set into --stats-out, and measure nothing
    #[arg(long, value_name = "NPZ", num_args = 2.., requires = "stats_out", conflicts_with = "generated")]
    merge: Vec<PathBuf>,
}

/// Distances between a set of pictures and a reference, on CLIP's features.
pub struct ClipMetrics {
    /// Fréchet distance.
    pub fd_clip: f64,
    /// Score of the generated set, one split.
    pub is_clip: f64,
}

/// Both metrics. The score's protocol is one split over the whole set.
pub fn clip_metrics(
    weights: &Path,
    generated: &[RgbImage],
    reference: &[RgbImage],
    classes: &[String],
    context: &Context,
) -> Result<ClipMetrics> {
    let extractor = clip_extractor(weights, classes, context)?;
    let (generated, reference) = (extractor.extract(generated)?, extractor.extract(reference)?);
    let gaussian = |rows: &[f32]| Gaussian::from_rows(rows, extractor.dimension());
    let fd_clip = frechet_distance(&gaussian(&generated.features)?, &gaussian(&reference.features)?)?.frechet;
    let logits = generated.logits.unwrap_or_default();
    let is_clip = from_logits(&logits, classes.len(), 1, SplitRule::Balanced)?.mean;
    Ok(ClipMetrics { fd_clip, is_clip })
}

/// "a cat", "an egg": the classes of the score on the embedded data.
pub fn noun_classes() -> Vec<String> {
    calotype::data::emoji_scenes::Noun::ALL
        .iter()
        .map(|noun| {
            let name = noun.name();
            let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            format!("{article} {name}")
        })
        .collect()
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if !args.merge.is_empty() {
        return merge(args, context).map_err(Error::of_data);
    }
    let extractor = ExtractorName::of(args);
    let metrics =
        if args.metrics.is_empty() { default_metrics(args, &extractor) } else { args.metrics.clone() };
    let clip_only = metrics.iter().any(|metric| matches!(metric, Metric::FdClip | Metric::IsClip));
    if clip_only && extractor != ExtractorName::Clip {
        return Err(Error::argument("--extractor", "clip, for fd-clip and is-clip", "another"));
    }
    let settings = Settings {
        splits: args.splits.unwrap_or(if extractor == ExtractorName::Clip { 1 } else { 10 }),
        kid_subsets: args.kid_subsets,
        kid_subset_size: args.kid_subset_size,
        k: args.k,
        seed: args.seed,
    };
    let mut report = Map::new();
    let sets: Vec<SetMetric> = metrics.iter().filter_map(|metric| metric.of_sets()).collect();
    let mut warned = Vec::new();
    if !sets.is_empty() || args.stats_out.is_some() {
        let (generated, reference) = sides(args, &extractor, context)?;
        warned = warnings(
            generated.facts.as_ref(),
            reference.as_ref().and_then(|reference| reference.facts.as_ref()),
        );
        for metric in sets {
            let found = measure(metric, &generated, reference.as_ref(), &settings, extractor.suffix());
            report.extend(found.map_err(Error::of_data)?);
        }
        for (side, facts) in [("generated", Some(&generated)), ("reference", reference.as_ref())] {
            if let Some(facts) = facts.and_then(|side| side.facts.as_ref()) {
                report.insert(format!("{side}_set"), serde_json::json!(facts));
            }
        }
        if let Some(path) = &args.stats_out {
            generated.write_statistics(path).map_err(Error::of_data)?;
        }
    }
    for metric in metrics {
        if let Some(metric) = metric.of_pairs(args, context)? {
            let (name, value) = paired(args, &metric).map_err(Error::of_data)?;
            report.insert(name, value);
        }
    }
    print(report, &warned, context);
    Ok(())
}

/// Those that the sides and the extractor allow.
fn default_metrics(args: &Args, extractor: &ExtractorName) -> Vec<Metric> {
    match extractor {
        ExtractorName::Clip => vec![Metric::FdClip, Metric::IsClip],
        ExtractorName::Onnx(_) => vec![Metric::Fid, Metric::Kid, Metric::Prdc],
        ExtractorName::Inception if args.reference.is_none() => vec![Metric::Is],
        ExtractorName::Inception => vec![Metric::Fid, Metric::Is, Metric::Kid, Metric::Prdc],
    }
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}

/// Both sides. The extractor is made only where a side has pictures.
fn sides(args: &Args, extractor: &ExtractorName, context: &Context) -> Result<(Side, Option<Side>)> {
    let pictures = [&args.generated, &args.reference].into_iter().flatten().any(|path| !is_npz(path));
    let extractor = if pictures { Some(extractor.make(args, context)?) } else { None };
    let side = |name: &str, path: &PathBuf| -> Result<Side> {
        let Some(extractor) = extractor.as_deref().filter(|_| !is_npz(path)) else {
            return Side::read(path);
        };
        let set = PictureSet::open(path)?;
        context.bars.begin(name, 0, set.files());
        let mut done = 0;
        let side = Side::of_pictures(&set, extractor, args.batch, args.skip_broken, &mut |more| {
            done += more;
            context.bars.step(done, "");
        })?;
        context.bars.end(name);
        Ok(side)
    };
    let generated =
        args.generated.as_ref().ok_or_else(|| Error::argument("--generated", "a side", "none"))?;
    let generated = side("generated", generated).map_err(Error::of_data)?;
    let reference = args.reference.as_ref().map(|path| side("reference", path)).transpose();
    Ok((generated, reference.map_err(Error::of_data)?))
}

fn paired(args: &Args, metric: &PairedMetric) -> Result<(String, Value)> {
    match (&args.generated, &args.reference) {
        (Some(generated), Some(reference)) if !is_npz(generated) && !is_npz(reference) => {
            measure_pairs(metric, &PictureSet::open(generated)?, &PictureSet::open(reference)?)
        }
        _ => Err(Error::argument("--generated and --reference", "two folders of pictures", "other")),
    }
}

fn merge(args: &Args, context: &Context) -> Result<()> {
    let mut parts = args.merge.iter();
    let first = parts.next().ok_or_else(|| Error::argument("--merge", "two files", "none"))?;
    let mut merged = Side::read(first)?;
    for part in parts {
        merged = merged.merge(&Side::read(part)?)?;
    }
    if let Some(path) = &args.stats_out {
        merged.write_statistics(path)?;
    }
    if context.json {
        message::json(&serde_json::json!({ "n": merged.n(), "merged": args.merge.len() }));
    } else {
        println!("merged {} files of {} pictures", args.merge.len(), merged.n().unwrap_or(0));
    }
    Ok(())
}

fn print(mut report: Map<String, Value>, warnings: &[String], context: &Context) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if context.json {
        report.insert("warnings".into(), serde_json::json!(warnings));
        return message::json(&report);
    }
    for (name, report) in report {
        let Some(value) = report["value"].as_f64() else { continue };
        let error = report["standard_error"].as_f64().map_or(String::new(), |error| format!(" ± {error:.4}"));
        let sides = [("generated", &report["n_generated"]), ("reference", &report["n_reference"])];
        let sides: Vec<String> =
            (sides.iter().filter(|(_, n)| !n.is_null())).map(|(side, n)| format!("{side} {n}")).collect();
        println!("{name}  {value:.4}{error}  ({})", sides.join(", "));
    }
}
