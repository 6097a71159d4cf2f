//! `[….training]`: what every training has.

use std::ops::Range;

use burn::tensor::Device;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::lr_schedule::LrSchedule;
use super::super::optimizer::{EmaConfig, OptimizerConfig};
use super::Check;
use crate::error::Result;
use crate::nn::{Compute, Precision};

/// `[….training]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Number of steps; 0 leaves CLIP as it starts.
    pub steps: usize,
    /// Samples in a step.
    pub batch_size: usize,
    /// Shares of a batch whose gradients are added: as many side by side as there are threads, the others after
    /// them. More shares need less memory. It changes the rounding of sums, so it is a setting.
    #[serde(default = "super::one")]
    pub parts: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// What follows the warm-up.
    pub lr_schedule: LrSchedule,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Checkpoints that are kept, the newest ones.
    #[serde(default = "two")]
    pub keep_checkpoints: usize,
    /// Steps between two logged lines.
    #[serde(default = "ten")]
    pub log_every: usize,
    /// Steps between two validations; 0 is never.
    #[serde(default)]
    pub validate_every: usize,
    /// Number whose best value decides which weights lie in `best/`, such as `validation_loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
    /// Numbers of the products' operands; weights, sums and everything else are f32.
    #[serde(default)]
    pub precision: Precision,
    /// The optimiser.
    #[serde(default = "default_optimizer", deserialize_with = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Averages kept for later, to reconstruct an average of any length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_snapshots: Option<EmaSnapshots>,
}

/// `[….training.ema_snapshots]`. Karras et al. 2023, arXiv:2312.02696, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaSnapshots {
    /// Steps between two snapshots.
    pub every: usize,
}

fn default_optimizer() -> OptimizerConfig {
    OptimizerConfig::default().filled_in()
}

/// The defaults of its rule are written out, so that a run is the same whether or not its recipe spells them out.
fn optimizer<'de, D: Deserializer<'de>>(section: D) -> std::result::Result<OptimizerConfig, D::Error> {
    OptimizerConfig::deserialize(section).map(OptimizerConfig::filled_in)
}

fn two() -> usize {
    2
}

fn ten() -> usize {
    10
}

impl TrainingRecipe {
    /// `least`: steps at least.
    pub(super) fn validate(&self, check: &Check, least: usize) -> Result<()> {
        check.that(self.steps >= least, "steps", format!("at least {least}"), self.steps)?;
        let parts = self.parts;
        let divides = parts > 0 && self.batch_size > 0 && self.batch_size.is_multiple_of(parts);
        check.that(
            divides,
            "batch_size",
            "a multiple of `parts`",
            format!("{} in {parts}", self.batch_size),
        )?;
        let rate = self.learning_rate;
        check.that(rate > 0.0 && rate.is_finite(), "learning_rate", "above 0", rate)?;
        check.that(self.checkpoint_every > 0, "checkpoint_every", "at least 1", 0)?;
        check.that(self.keep_checkpoints > 0, "keep_checkpoints", "at least 1", 0)?;
        check.that(self.log_every > 0, "log_every", "at least 1", 0)?;
        let validated = self.best.is_none() || self.validate_every > 0;
        check.that(validated, "best", "nothing, as `validate_every` is 0", format!("{:?}", self.best))?;
        if let Err((key, expected, got)) = self.optimizer.validate() {
            return check.that(false, &format!("optimizer.{key}"), expected, got);
        }
        if let Some(snapshots) = &self.ema_snapshots {
            check.that(snapshots.every > 0, "ema_snapshots.every", "at least 1", 0)?;
            let power = |ema: &EmaConfig| matches!(ema, EmaConfig::Power { .. });
            let powers = self.optimizer.averages().iter().filter(|ema| power(ema)).count();
            check.that(
                powers >= 2,
                "ema_snapshots",
                "two averages in `optimizer.emas` that are powers",
                powers,
            )?;
        }
        Ok(())
    }

    /// The same without what does not decide the weights: a run that is resumed may change it. The number of steps
    /// does not either, where the learning rate does not depend on it.
    pub(crate) fn identity(&self) -> Self {
        let mut identity = self.clone();
        if matches!(self.lr_schedule, LrSchedule::Constant | LrSchedule::InverseSqrt) {
            identity.steps = 0;
        }
        (identity.checkpoint_every, identity.keep_checkpoints, identity.log_every) = (0, 0, 0);
        (identity.validate_every, identity.best, identity.ema_snapshots) = (0, None, None);
        identity
    }

    /// Positions in the run of the samples of `step`, share by share.
    pub(crate) fn positions(&self, step: usize) -> impl Iterator<Item = Range<u64>> + use<> {
        let per_share = (self.batch_size / self.parts) as u64;
        let first = (step * self.batch_size) as u64;
        (0..self.parts as u64).map(move |share| first + share * per_share..first + (share + 1) * per_share)
    }

    /// Where and in which arithmetic the networks of this training run, the frozen ones too.
    ///
    /// # Errors
    /// `Error::Argument` for bf16 on a device that does not have it.
    pub fn compute(&self, device: &Device) -> Result<Compute> {
        Ok(Compute::new(device, self.precision.required("`training.precision`", device)?))
    }

    /// Whether `step` has a line in the log.
    pub(crate) fn logs(&self, step: usize) -> bool {
        step.is_multiple_of(self.log_every) || step + 1 == self.steps
    }

    /// Whether the network is validated when so many steps are done.
    pub(crate) fn validates(&self, done: usize) -> bool {
        self.validate_every > 0 && (done.is_multiple_of(self.validate_every) || done == self.steps)
    }

    /// Whether averages are kept for later then.
    pub(crate) fn keeps_averages(&self, done: usize) -> bool {
        self.ema_snapshots.as_ref().is_some_and(|snapshots| done.is_multiple_of(snapshots.every))
    }

    /// Whether there is a checkpoint then.
    pub(crate) fn saves(&self, done: usize) -> bool {
        done.is_multiple_of(self.checkpoint_every) || done == self.steps
    }

    /// Learning rate of `step`.
    pub fn rate(&self, step: usize) -> f64 {
        self.rate_with_restart(step, 0)
    }

    /// The same where the first `first` steps have a schedule of their own, and the others another: a warm restart.
    /// Loshchilov & Hutter 2017, arXiv:1608.03983, section 3.
    pub(crate) fn rate_with_restart(&self, step: usize, first: usize) -> f64 {
        let (step, steps) =
            if step < first { (step, first) } else { (step - first, self.steps.saturating_sub(first)) };
        self.lr_schedule.at(step, steps, self.warm_up, self.learning_rate)
    }
}
