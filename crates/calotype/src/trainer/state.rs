//! Training state on disk: one file for each checkpoint, the newest few.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::optimizer::Optimizer;
use super::spikes::Spikes;
use crate::difference::difference;
use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::ranks::agreement::agree;
use crate::ranks::{Ranks, is_root, text_of_root};
use crate::runs::folder::{file_after, files_by_steps};
use crate::runs::metric::Direction;

/// What a run remembers beside weights and moments.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Of the loss.
    pub spikes: Spikes,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Pictures that could not be read.
    pub damaged: Vec<String>,
}

/// The number that decides which weights are best, at its best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Which number: a resume may ask for another.
    pub name: String,
    /// Steps done.
    pub steps: usize,
    /// Its value.
    pub value: f64,
}

impl Best {
    /// Whether `value` is better, in the direction that `calotype runs` takes too; smaller where none is known.
    pub fn is_beaten_by(&self, value: f64) -> bool {
        Direction::of(&self.name).unwrap_or(Direction::Lower).prefers(value, self.value)
    }
}

/// The checkpoints of one part.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    /// The settings as JSON: a resume under other ones is refused.
    settings: String,
}

impl Checkpoints {
    /// Those in `folder`, of which the newest `keep` stay.
    ///
    /// # Errors
    /// `Error::Format` for settings that JSON cannot say.
    pub fn open(folder: PathBuf, keep: usize, settings: &impl Serialize) -> Result<Self> {
        let settings = serde_json::to_string(settings).map_err(|e| Error::format(&folder, "JSON", e))?;
        Ok(Self { folder, keep, settings })
    }

    /// Saves weights, moments, averages and the number of steps, whole or not at all; then removes the oldest.
    /// Data, noise and order follow from seed and step: there is no other state of randomness.
    ///
    /// # Errors
    /// `Error::Io`; the older checkpoints are then still there.
    pub fn save(&self, optimizer: &Optimizer, memory: &Memory) -> Result<()> {
        let steps = optimizer.steps();
        let path = file_after(&self.folder, steps);
        let memory = serde_json::to_string(memory).map_err(|e| Error::format(&path, "JSON", e))?;
        let metadata = HashMap::from([
            ("steps".to_owned(), steps.to_string()),
            ("recipe".to_owned(), self.settings.clone()),
            ("memory".to_owned(), memory),
        ]);
        safetensors::write_borrowed(&path, optimizer.state().into_iter(), metadata)?;
        self.remove_old()
    }

    /// Removes all but the newest.
    fn remove_old(&self) -> Result<()> {
        let all = files_by_steps(&self.folder)?;
        for (_, old) in &all[..all.len().saturating_sub(self.keep)] {
            fs::remove_file(old).map_err(Error::io("remove", old))?;
        }
        Ok(())
    }

    /// [`load`](Self::load) for all ranks: rank 0 reads, so that the run's folder need not be everywhere. `whole` makes an
    /// optimiser that owns every parameter.
    ///
    /// # Errors
    /// As [`load`](Self::load), on all ranks; `Error::Ranks`.
    pub fn load_among(
        &self,
        optimizer: &mut Optimizer,
        whole: impl FnOnce() -> Optimizer,
        ranks: &dyn Ranks,
    ) -> Result<Option<Memory>> {
        if ranks.count() == 1 {
            return self.load(optimizer);
        }
        let read = || {
            let mut whole = whole();
            Ok(self.load(&mut whole)?.map(|memory| (memory, whole)))
        };
        let read = agree(ranks, if is_root(ranks) { read() } else { Ok(None) })?;
        let (memory, whole) = read.unzip();
        // Memory is plain numbers and texts.
        let memory: Option<Memory> =
            serde_json::from_str(&text_of_root(ranks, json!(memory).to_string())?)
                .map_err(|e| Error::Ranks { reason: format!("what rank 0 says of the checkpoint: {e}") })?;
        if memory.is_some() {
            optimizer.take_over(whole, ranks)?;
        }
        Ok(memory)
    }

    /// Puts the newest checkpoint into `optimizer`; `None` if there is none.
    ///
    /// # Errors
    /// `Error::Io`, `Error::Format` for a damaged file, `Error::Config` if the recipe has changed,
    /// `Error::Weights` if the network has.
    pub fn load(&self, optimizer: &mut Optimizer) -> Result<Option<Memory>> {
        let Some((_, path)) = files_by_steps(&self.folder)?.pop() else { return Ok(None) };
        let metadata = safetensors::read_metadata(&path)?;
        let saved = metadata.get("recipe").map_or("", String::as_str);
        if saved != self.settings {
            let (key, expected, got) = first_difference(saved, &self.settings);
            let expected = format!("{expected}, as the run began");
            return Err(Error::config(path, format!("recipe{key}"), expected, got));
        }
        let missing = |what: &str| Error::format(&path, "training state", format!("it has no {what}"));
        let steps = metadata.get("steps").and_then(|steps| steps.parse().ok());
        let memory = metadata.get("memory").and_then(|memory| serde_json::from_str(memory).ok());
        let memory = memory.ok_or_else(|| missing("memory"))?;
        let steps = steps.ok_or_else(|| missing("number of steps"))?;
        optimizer.restore(&path, safetensors::read(&path)?, steps)?;
        // A run that was killed after a checkpoint has not removed the one before it yet.
        self.remove_old()?;
        Ok(Some(memory))
    }
}

/// Where two settings first differ: key, and both values.
fn first_difference(began: &str, now: &str) -> (String, String, String) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    difference(&parse(began), &parse(now))
}
