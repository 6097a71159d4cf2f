//! Both set metrics on the run's own CLIP, for `demo`.

use std::path::Path;

use calotype::Result;
use calotype::evaluate::extractor::Extractor;
use calotype::evaluate::frechet::frechet_distance;
use calotype::evaluate::gaussian::Gaussian;
use calotype::evaluate::inception_score::{SplitRule, from_logits};
use image::RgbImage;

use super::extractors::clip_extractor;
use crate::options::Context;

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
