//! `calotype evaluate`

use std::path::{Path, PathBuf};

use calotype::data::image_folder::load_picture;
use calotype::evaluate::clip_features::{self, Features};
use calotype::evaluate::frechet::{Gaussian, frechet_distance};
use calotype::evaluate::inception_score::{SplitRule, from_probabilities};
use calotype::formats::diffusers_folder::load_clip;
use calotype::text_encoder::tokenizer::ClipTokenizer;
use calotype::{Error, Result};
use clap::ValueEnum;
use image::RgbImage;

use crate::message;
use crate::options::Context;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Fréchet distance of CLIP features
    FdClip,
    /// Inception Score of CLIP's zero-shot class probabilities
    IsClip,
}

/// What turns a picture into features.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Extractor {
    /// The CLIP model in --weights
    Clip,
}

#[derive(clap::Args)]
pub struct Args {
    /// Folder of generated pictures
    #[arg(long, value_name = "DIR")]
    generated: PathBuf,
    /// Folder of reference pictures
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// What turns a picture into features
    #[arg(long, value_enum, default_value_t = Extractor::Clip)]
    extractor: Extractor,
    /// Model folder with clip/ and tokenizer/
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,
    /// Metrics, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Metric::FdClip, Metric::IsClip])]
    metrics: Vec<Metric>,
    /// Classes of the score, separated by commas [default: the 40 nouns of emoji-scenes]
    #[arg(long, value_delimiter = ',', value_name = "TEXTS")]
    classes: Vec<String>,
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
    let clip = load_clip(&weights.join("clip"), &context.device)?.network;
    let tokenizer = ClipTokenizer::load(&weights.join("tokenizer"))?;
    let gaussian = |images: &[RgbImage]| {
        let Features { rows, dimension } = clip_features::of_images(&clip, images, &context.device)?;
        Gaussian::from_rows(&rows, dimension)
    };
    let fd_clip = frechet_distance(&gaussian(generated)?, &gaussian(reference)?)?.frechet;
    let probabilities =
        clip_features::class_probabilities(&clip, &tokenizer, generated, classes, &context.device)?;
    let is_clip = from_probabilities(&probabilities, classes.len(), 1, SplitRule::Balanced)?.mean;
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
    let Extractor::Clip = args.extractor;
    let generated = pictures("--generated", &args.generated)?;
    let reference = pictures("--reference", &args.reference)?;
    let classes = if args.classes.is_empty() { noun_classes() } else { args.classes.clone() };
    let metrics = clip_metrics(&args.weights, &generated, &reference, &classes, context)?;
    let mut report = serde_json::Map::new();
    for metric in &args.metrics {
        let (name, value) = match metric {
            Metric::FdClip => ("fd-clip", metrics.fd_clip),
            Metric::IsClip => ("is-clip", metrics.is_clip),
        };
        if !context.json {
            println!("{name}  {value:.4}  (generated {}, reference {})", generated.len(), reference.len());
        }
        let protocol = serde_json::json!({
            "extractor": "clip", "weights": args.weights, "n_generated": generated.len(),
            "n_reference": reference.len(), "splits": 1, "note": "not comparable with published FID or IS",
        });
        report.insert(name.into(), serde_json::json!({ "value": value, "protocol": protocol }));
    }
    if context.json {
        message::json(&report);
    }
    Ok(())
}

/// All pictures of a folder, by name.
fn pictures(option: &str, folder: &Path) -> Result<Vec<RgbImage>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(Error::io("read", folder))?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    let known = ["png", "jpg", "jpeg", "webp"];
    paths.retain(|path| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        known.contains(&extension.as_str())
    });
    paths.sort();
    if paths.len() < 2 {
        return Err(Error::argument(
            option,
            "a folder with at least 2 pictures",
            format!("{} in it", paths.len()),
        ));
    }
    paths.iter().map(|path| load_picture(path)).collect()
}
