//! What the name of a logged number says about it.

use serde::Serialize;

/// Which values of a metric are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Losses and distances.
    Lower,
    /// Similarities and rates.
    Higher,
}

impl Direction {
    /// The direction of the metric called `name`; none where it is not known, as for a gradient norm, or
    /// for the losses of two networks that play against each other.
    pub fn of(name: &str) -> Option<Self> {
        let has = |wanted: &[&str]| words(name).any(|word| wanted.contains(&word));
        if has(&["discriminator", "generator", "adversarial", "chance", "weight", "scale"]) {
            None
        } else if has(&["loss", "fid", "rfid", "kid", "lpips"]) {
            Some(Direction::Lower)
        } else if has(&["psnr", "ssim", "recall", "choice", "accuracy", "pointing", "iou", "mass"])
            || name.contains("r_at_")
        {
            Some(Direction::Higher)
        } else {
            None
        }
    }

    /// Whether `value` is better than `other`; NaN is better than nothing.
    pub fn prefers(self, value: f64, other: f64) -> bool {
        match self {
            Direction::Lower => value < other,
            Direction::Higher => value > other,
        }
    }
}

/// Whether the metric is measured on validation data, now and then, and not on every batch.
pub fn is_validation(name: &str) -> bool {
    words(name).any(|word| word == "validation")
}

/// Whether the metric is of a kind that falls by orders of magnitude, so that a logarithmic axis suits it.
pub fn spans_magnitudes(name: &str) -> bool {
    words(name).any(|word| ["loss", "reconstruction", "kl", "norm"].contains(&word))
}

/// Whether the metric is set by a schedule: it has no noise to smooth away.
pub fn is_scheduled(name: &str) -> bool {
    name == "learning_rate" || name.starts_with("learning_rate_")
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direction_is_known_of_losses_and_scores_only() {
        for (name, direction) in [
            ("loss", Some(Direction::Lower)),
            ("validation_loss", Some(Direction::Lower)),
            ("validation_fid", Some(Direction::Lower)),
            ("validation_psnr", Some(Direction::Higher)),
            ("validation_r_at_1", Some(Direction::Higher)),
            ("recall_at_5", Some(Direction::Higher)),
            ("discriminator_loss", None),
            ("chance_loss", None),
            ("gradient_norm", None),
            ("learning_rate", None),
            ("glossary", None),
        ] {
            assert_eq!(Direction::of(name), direction, "{name}");
        }
        assert!(!Direction::Lower.prefers(f64::NAN, 1.0) && !Direction::Higher.prefers(f64::NAN, 1.0));
    }
}
