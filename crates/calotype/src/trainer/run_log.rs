//! Everything that a run writes down while it trains: JSON lines, TensorBoard's file, pictures.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::metrics_log::MetricsLog;
use super::objective::Observation;
use super::spikes::Spike;
use crate::data::source::Damaged;
use crate::error::{Error, Result};
use crate::files::png;
use crate::files::tensorboard::EventFile;
use crate::progress::Progress;
use crate::runs::folder::{RunFolder, TrainedPart};

/// The logs of one part, opened at a step: what was written about later steps is gone.
pub(super) struct RunLog<'a> {
    numbers: MetricsLog,
    events: MetricsLog,
    board: EventFile,
    samples: PathBuf,
    progress: &'a dyn Progress,
}

impl<'a> RunLog<'a> {
    /// The logs of a run that stands at `step`.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if one of them holds something else.
    pub(super) fn open(
        run: &RunFolder,
        part: TrainedPart,
        step: usize,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        Ok(Self {
            numbers: MetricsLog::open(&run.log(part), step)?,
            events: MetricsLog::open(&run.events(part), step)?,
            board: EventFile::open(&run.tensorboard(part), step as u64, progress.clock())?,
            samples: run.samples(part),
            progress,
        })
    }

    /// What the training depends on, for those who look at its curves.
    pub(super) fn settings(&mut self, settings: &impl Serialize) -> Result<()> {
        // Settings that cannot be written were refused with the checkpoints.
        let text = serde_json::to_string_pretty(settings).unwrap_or_default();
        self.board.text(0, "settings", &format!("```json\n{text}\n```"))
    }

    /// The numbers of a step.
    pub(super) fn numbers(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        for (name, value) in values {
            self.board.scalar(step as u64, &format!("train/{name}"), *value as f32)?;
        }
        self.numbers.write(step, values)
    }

    /// A loss that stands out, and the samples that it came from.
    pub(super) fn spike(&mut self, step: usize, spike: Spike, items: &[String]) -> Result<()> {
        let Spike { loss, mean, std } = spike;
        let values =
            [("loss", loss.into()), ("mean", mean.into()), ("std", std.into()), ("items", items.into())];
        self.progress.say(&format!("step {step}: the loss jumped to {loss:.4} from about {mean:.4}"));
        self.events.event(step, "loss_spike", &values)
    }

    /// A picture that could not be read.
    pub(super) fn damaged(&mut self, step: usize, damaged: &Damaged) -> Result<()> {
        self.progress.say(&format!("left out: {}", damaged.reason));
        let values: [(&str, Value); 2] =
            [("name", damaged.name.as_str().into()), ("reason", damaged.reason.as_str().into())];
        self.events.event(step, "damaged_picture", &values)
    }

    /// Why the run stops.
    pub(super) fn stopped(&mut self, step: usize, error: &Error) -> Result<()> {
        self.events.event(step, "stopped", &[("reason", error.to_string().into())])
    }

    /// What a warning says; once.
    pub(super) fn warn(&mut self, step: usize, warning: &str) -> Result<()> {
        self.progress.say(&format!("step {step}: {warning}"));
        self.events.event(step, "warning", &[("reason", warning.into())])
    }

    /// What a validation saw after `done` steps; its line stands at `step`.
    pub(super) fn observation(&mut self, step: usize, done: usize, observed: &Observation) -> Result<()> {
        let values: Vec<(&str, f64)> =
            observed.numbers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        if !values.is_empty() {
            self.numbers.write(step, &values)?;
        }
        for (name, value) in &values {
            let tag = format!("validation/{}", name.trim_start_matches("validation_"));
            self.board.scalar(step as u64, &tag, *value as f32)?;
        }
        for (name, picture) in &observed.pictures {
            self.board.image(step as u64, name, picture)?;
            png::write(&self.samples.join(format!("{done:06}-{name}.png")), picture)?;
        }
        self.board.flush()
    }

    /// New best weights.
    pub(super) fn best(&mut self, step: usize, name: &str, value: f64) -> Result<()> {
        self.events.event(step, "best", &[(name, value.into())])
    }
}
