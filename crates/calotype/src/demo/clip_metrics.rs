//! Both metrics of sets on the run's own CLIP.

use image::RgbImage;

use super::measure::{Measure, measure};
use crate::error::Result;
use crate::evaluate::extractor::{ClipExtractor, Extracted, Extractor};
use crate::evaluate::frechet::frechet_distance;
use crate::evaluate::gaussian::Gaussian;
use crate::evaluate::inception_score::{SplitRule, from_logits};

/// Distances between a set of pictures and a reference, on CLIP's features.
#[derive(Debug, Clone)]
pub struct ClipMetrics {
    /// Fréchet distance.
    pub fd_clip: Measure<f64>,
    /// Inception Score of the generated set over the extractor's classes, one split.
    pub is_clip: Measure<f64>,
}

impl ClipMetrics {
    /// Both metrics. The score's protocol is one split over the whole set.
    ///
    /// # Errors
    /// Where the system refuses a file.
    pub(super) fn of(
        extractor: &Measure<ClipExtractor>,
        generated: &[RgbImage],
        reference: &[RgbImage],
    ) -> Result<Self> {
        let extractor = match extractor {
            Ok(extractor) => extractor,
            Err(reason) => {
                return Ok(Self { fd_clip: Err(reason.clone()), is_clip: Err(reason.clone()) });
            }
        };
        let classes = extractor.classes.len();
        let (generated, reference) = (extractor.extract(generated), extractor.extract(reference));
        let gaussian = |features: &Extracted| Gaussian::from_rows(&features.features, extractor.dimension());
        let distance = |(ours, theirs): (&Extracted, &Extracted)| -> Result<f64> {
            Ok(frechet_distance(&gaussian(ours)?, &gaussian(theirs)?)?.frechet)
        };
        let score = |features: &Extracted| -> Result<f64> {
            let logits = features.logits.as_deref().unwrap_or_default();
            Ok(from_logits(logits, classes, 1, SplitRule::Balanced)?.mean)
        };
        let (generated, reference) = (measure(generated)?, measure(reference)?);
        let both = generated.as_ref().and_then(|generated| Ok((generated, reference.as_ref()?)));
        Ok(Self { fd_clip: of_features(both, distance)?, is_clip: of_features(generated.as_ref(), score)? })
    }
}

/// A metric of features, if there are any.
fn of_features<T>(
    features: std::result::Result<T, &String>,
    metric: impl FnOnce(T) -> Result<f64>,
) -> Result<Measure<f64>> {
    match features {
        Ok(features) => measure(metric(features)),
        Err(reason) => Ok(Err(reason.clone())),
    }
}
