//! Both metrics of sets on the run's own CLIP.

use image::RgbImage;

use crate::error::Result;
use crate::evaluate::extractor::{ClipExtractor, Extractor};
use crate::evaluate::frechet::frechet_distance;
use crate::evaluate::gaussian::Gaussian;
use crate::evaluate::inception_score::{SplitRule, from_logits};

/// Distances between a set of pictures and a reference, on CLIP's features.
#[derive(Debug, Clone, Copy)]
pub struct ClipMetrics {
    /// Fréchet distance.
    pub fd_clip: f64,
    /// Inception Score of the generated set over the extractor's classes, one split.
    pub is_clip: f64,
}

impl ClipMetrics {
    /// Both metrics. The score's protocol is one split over the whole set.
    ///
    /// # Errors
    /// Those of the extractor and of the metrics.
    pub(super) fn of(
        extractor: &ClipExtractor,
        generated: &[RgbImage],
        reference: &[RgbImage],
    ) -> Result<Self> {
        let (generated, reference) = (extractor.extract(generated)?, extractor.extract(reference)?);
        let gaussian = |rows: &[f32]| Gaussian::from_rows(rows, extractor.dimension());
        let (ours, theirs) = (gaussian(&generated.features)?, gaussian(&reference.features)?);
        let logits = generated.logits.unwrap_or_default();
        Ok(Self {
            fd_clip: frechet_distance(&ours, &theirs)?.frechet,
            is_clip: from_logits(&logits, extractor.classes.len(), 1, SplitRule::Balanced)?.mean,
        })
    }
}
