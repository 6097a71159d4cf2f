//! What a validation of a network on its way comes to: a line in the log, and the best weights so far.

use burn::module::Module;

use super::objective::{Objective, Observation, Watch};
use super::run_log::RunLog;
use super::state::{Best, Memory};
use super::swap;
use crate::error::{Error, Result};
use crate::runs::folder::RunFolder;

/// Measures the averaged network, and keeps it where it is the best so far.
pub(super) fn validate<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    (run, log, memory): (&RunFolder, &mut RunLog, &mut Memory),
    watch: &dyn Watch<N>,
    averaged: &N,
    step: usize,
) -> Result<()> {
    let observed = watch.look(averaged, step + 1)?;
    log.observation(step, step + 1, &observed)?;
    let Some((name, value)) = deciding(objective, &observed)? else { return Ok(()) };
    // Infinity, as the PSNR of perfect pictures, is no number to compare others with.
    let before = memory.best.as_ref().filter(|best| best.name == name);
    if value.is_finite() && before.is_none_or(|best| best.is_beaten_by(value)) {
        swap::replace(&run.best(objective.part()), |folder| objective.save(averaged, folder))?;
        log.best(step, &name, value)?;
        memory.best = Some(Best { name, steps: step + 1, value });
    }
    Ok(())
}

/// The number that decides which weights are best, if the recipe names one.
pub(super) fn deciding<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    observed: &Observation,
) -> Result<Option<(String, f64)>> {
    let Some(name) = objective.training().best.clone() else { return Ok(None) };
    match observed.numbers.iter().find(|(seen, _)| *seen == name) {
        Some((_, value)) if value.is_nan() => {
            let what = format!("`{name}` of the validation");
            Err(Error::NonFinite { what, step: 0, got: value.to_string() })
        }
        Some((_, value)) => Ok(Some((name, *value))),
        None => {
            let seen: Vec<&str> = observed.numbers.iter().map(|(name, _)| name.as_str()).collect();
            Err(Error::data(
                format!("`{}.training.best` of the recipe", objective.part()),
                format!("one of {}", seen.join(", ")),
                format!("`{name}`"),
            ))
        }
    }
}
