//! `[diffusion.grounding]` and `[diffusion.layout_first]`: what the attention is taught, and when.

use serde::{Deserialize, Serialize};

use super::{Check, DiffusionRecipe};
use crate::error::Result;

/// `[diffusion.grounding]`: [`crate::denoiser::grounding`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroundingRecipe {
    /// What the loss counts beside that of the denoiser.
    pub weight: f64,
    /// Share of the heads of each layer that are taught.
    pub heads: f64,
    /// Samples at noisy timesteps count so many times as much.
    pub noisy_factor: f64,
    /// Timesteps above this share of all are noisy.
    pub noisy_from: f64,
}

impl Default for GroundingRecipe {
    fn default() -> Self {
        Self { weight: 0.2, heads: 0.5, noisy_factor: 5.0, noisy_from: 0.7 }
    }
}

/// `[diffusion.layout_first]`: the first steps teach where things belong, the others what they look like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayoutFirst {
    /// Share of the steps.
    pub share: f64,
    /// In place of `grounding.weight`.
    pub grounding: f64,
    /// In place of `timestep_shift`.
    pub timestep_shift: f64,
}

impl Default for LayoutFirst {
    fn default() -> Self {
        Self { share: 0.5, grounding: 1.0, timestep_shift: 3.0 }
    }
}

impl DiffusionRecipe {
    /// Steps in which the layout comes first.
    pub(crate) fn layout_steps(&self) -> usize {
        self.layout_first.map_or(0, |first| (first.share * self.training.steps as f64).ceil() as usize)
    }

    /// Grounding, and the timesteps that are drawn.
    pub(super) fn validate_layout(&self, check: &Check) -> Result<()> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let share = |x: f64| (0.0..=1.0).contains(&x);
        check.that(positive(self.timestep_shift), "timestep_shift", "above 0", self.timestep_shift)?;
        if let Some(first) = &self.layout_first {
            check.that(share(first.share), "layout_first.share", "0 to 1", first.share)?;
            let weight = first.grounding;
            check.that(
                weight >= 0.0 && weight.is_finite(),
                "layout_first.grounding",
                "at least 0",
                weight,
            )?;
            let shift = first.timestep_shift;
            check.that(positive(shift), "layout_first.timestep_shift", "above 0", shift)?;
        }
        let Some(GroundingRecipe { weight, heads, noisy_factor, noisy_from }) = self.grounding else {
            return check.that(self.layout_first.is_none(), "layout_first", "`grounding` beside it", "none");
        };
        check.that(weight >= 0.0 && weight.is_finite(), "grounding.weight", "at least 0", weight)?;
        check.that(heads > 0.0 && share(heads), "grounding.heads", "above 0, at most 1", heads)?;
        let factor = noisy_factor;
        check.that(factor >= 0.0 && factor.is_finite(), "grounding.noisy_factor", "at least 0", factor)?;
        check.that(share(noisy_from), "grounding.noisy_from", "0 to 1", noisy_from)?;
        let whole = "false with `grounding`, which needs the attention of the whole network";
        check.that(!self.gradient_checkpointing, "gradient_checkpointing", whole, true)
    }
}
