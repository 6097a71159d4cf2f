//! `[data]`: what the networks see.

use serde::{Deserialize, Serialize};

use super::Check;
use crate::data::emoji_scenes::{Noun, SINGLE_OBJECTS};
use crate::data::transform::{Crop, Transform};
use crate::error::Result;

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Side of the pictures in pixels; with buckets the side of the square that has their area.
    pub size: u32,
    /// Most objects in an embedded scene, 1 to 3.
    #[serde(default = "super::three")]
    pub max_objects: usize,
    /// Share of the embedded scenes with a single object, 0 to 1.
    #[serde(default = "single_objects")]
    pub single_objects: f64,
    /// What the embedded scenes are of; all 40 nouns if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nouns: Option<Vec<Noun>>,
    /// How pictures of other sizes are brought to this one.
    #[serde(default)]
    pub transform: Transform,
    /// Share of the pictures that training does not see and validation does; for the embedded data, whose
    /// held-out pairs of nouns are another split, only 0 or not matters.
    #[serde(default = "a_fiftieth")]
    pub validation: f64,
    /// Share of the pictures that may be damaged before the run stops.
    #[serde(default = "a_hundredth")]
    pub max_damaged: f64,
    /// Batches of several shapes, for pictures of several shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<BucketRecipe>,
}

/// `[data.buckets]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketRecipe {
    /// Sides are multiples of this: of the VAE's factor times that of the U-Net.
    pub step: u32,
    /// Longest side over shortest side at most.
    pub max_ratio: f64,
}

fn single_objects() -> f64 {
    SINGLE_OBJECTS
}

fn a_fiftieth() -> f64 {
    0.02
}

fn a_hundredth() -> f64 {
    0.01
}

impl DataRecipe {
    /// The same without what does not decide the weights.
    pub(crate) fn identity(&self) -> Self {
        Self { validation: 0.0, max_damaged: 0.0, ..self.clone() }
    }

    pub(super) fn validate(&self, check: &Check) -> Result<()> {
        check.that(self.size > 0, "size", "at least 1", self.size)?;
        let share = |x: f64| (0.0..1.0).contains(&x);
        check.that(share(self.validation), "validation", "0 to below 1", self.validation)?;
        check.that(share(self.max_damaged), "max_damaged", "0 to below 1", self.max_damaged)?;
        if let Some(BucketRecipe { step, max_ratio }) = &self.buckets {
            let divides = *step > 0 && self.size.is_multiple_of(*step);
            check.that(divides, "buckets.step", format!("a divisor of `size` {}", self.size), step)?;
            check.that(
                *max_ratio >= 1.0 && max_ratio.is_finite(),
                "buckets.max_ratio",
                "at least 1",
                max_ratio,
            )?;
        }
        Ok(())
    }

    /// Whether a picture looks the same each time it is seen, but for a flip: then its latents can be kept.
    pub fn is_repeatable(&self) -> bool {
        self.transform.crop != Crop::Random
    }
}
