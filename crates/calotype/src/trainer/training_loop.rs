//! The loop that every part runs: batch, gradients, learning rate, optimiser, log, validation, checkpoint.

use std::collections::HashMap;

use burn::module::Module;

use super::batch::Batch;
use super::data_parallel::{BatchGradients, recycle};
use super::objective::{Objective, Observation, Watch};
use super::optimizer::Optimizer;
use super::run_log::RunLog;
use super::session::Session;
use super::state::{Best, Checkpoints, Memory};
use super::weights::{Weights, fill, optimizer, power_averages};
use super::{claim, preflight, swap};
use crate::data::loader::prepared_ahead;
use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::runs::folder::file_after;

/// Trains `network` until all steps are done, and writes it with its averaged weights into the run's model folder.
/// Returns the optimiser, which has the weights and all averages.
///
/// # Errors
/// Those of `objective`; `Error::Preflight`; `Error::Diverged` (the last checkpoint is from before);
/// `Error::Data` for too many damaged pictures; `Error::Interrupted` after saving, when `progress` says so;
/// `Error::Argument` if the run has a checkpoint of the part and `session` does not resume it, or the other way round;
/// `Error::Config` for a resume under other settings; `Error::Io`.
pub fn train<N: Module + Sync, O: Objective<N>>(
    session: Session,
    mut objective: O,
    network: N,
    watch: &dyn Watch<N>,
) -> Result<Optimizer> {
    let (run, part, settings) = (session.run, objective.part(), objective.settings());
    let (steps, keep) = (objective.training().steps, objective.training().keep_checkpoints);
    let _claim = claim::claim(run, part)?;
    let mut optimizer = optimizer(&objective, &network);
    let checkpoints = Checkpoints::open(run.checkpoints(part), keep, &settings)?;
    let memory = checkpoints.load(&mut optimizer)?;
    if memory.is_some() != session.resume {
        let expected = if session.resume {
            format!("a run with a checkpoint of {part}")
        } else {
            format!("a run without a trained {part}, or `resume` to go on with this one")
        };
        return Err(Error::argument("run", expected, run.path().display()));
    }
    if session.preflight && !session.resume {
        preflight::check(&objective, &network, session.threads)?.refuse_faults(session.progress)?;
    }
    objective.fill_caches(&session)?;
    if !session.resume {
        claim::forget(run, part)?;
    }
    let first = optimizer.steps();
    let mut log = RunLog::open(run, part, first, session.progress)?;
    if first == 0 {
        log.settings(&settings)?;
    }

    session.progress.begin(part.name(), first, steps);
    let network = fill(&optimizer, network, Weights::Current);
    let memory = memory.unwrap_or_default();
    let mut running =
        Running { session, objective: &objective, network, optimizer, checkpoints, memory, log, watch };
    prepared_ahead(
        session.workers,
        first..steps,
        |step| objective.prepare(step),
        |next| -> Result<()> {
            if first == 0 {
                running.look_at_untrained()?;
            }
            for step in first..steps {
                let taken = next(step).and_then(|batch| running.step(step, &batch));
                taken.inspect_err(|error| running.note(step, error))?;
            }
            Ok(())
        },
    )?;
    session.progress.end(part.name());
    let Running { optimizer, network, .. } = running;
    objective.save(&fill(&optimizer, network, Weights::Averaged), &run.model())?;
    Ok(optimizer)
}

/// A training on its way.
struct Running<'a, N: Module + Sync, O: Objective<N>> {
    session: Session<'a>,
    objective: &'a O,
    /// With the optimiser's current weights.
    network: N,
    optimizer: Optimizer,
    checkpoints: Checkpoints,
    memory: Memory,
    log: RunLog<'a>,
    watch: &'a dyn Watch<N>,
}

impl<N: Module + Sync, O: Objective<N>> Running<'_, N, O> {
    /// One step, from its batch to its checkpoint. The optimiser has not changed if there are no finite gradients.
    fn step(&mut self, step: usize, batch: &Batch<O::Share>) -> Result<()> {
        let (objective, training, done) = (self.objective, self.objective.training(), step + 1);
        self.count_damaged(step, batch)?;
        let BatchGradients { gradients, logged } =
            objective.gradients(&self.network, step, batch, self.session.threads)?;
        let rate = objective.learning_rate(step);
        let norm = self.optimizer.step(&gradients, rate);
        let norm = norm.map_err(|error| error.in_batch(step, batch.items.clone()))?;
        recycle(gradients);
        objective.constrain(&mut self.optimizer);
        self.network = fill(&self.optimizer, self.network.clone(), Weights::Current);
        self.report(step, &batch.items, logged, [("gradient_norm", norm), ("learning_rate", rate)])?;

        if training.validates(done) {
            self.validate(step)?;
        }
        if training.keeps_averages(done) {
            let path = file_after(&self.session.run.ema(objective.part()), done);
            safetensors::write_borrowed(&path, power_averages(&self.optimizer), HashMap::new())?;
        }
        let interrupted = self.session.progress.interrupted();
        if training.saves(done) || interrupted {
            self.optimizer.check_finite()?;
            self.checkpoints.save(&self.optimizer, &self.memory)?;
        }
        if interrupted { Err(Error::Interrupted { step: done }) } else { Ok(()) }
    }

    /// Tells how the step went: the mean losses `logged` always, and with `more` where it is time for a line.
    fn report(
        &mut self,
        step: usize,
        items: &[String],
        logged: Vec<f64>,
        more: [(&str, f64); 2],
    ) -> Result<()> {
        let training = self.objective.training();
        let values: Vec<(&str, f64)> = self.objective.logged().into_iter().zip(logged).collect();
        let message = values.iter().map(|(name, value)| format!("{name} {value:.4}"));
        self.session.progress.step(step + 1, &message.collect::<Vec<_>>().join("  "));
        if let Some(spike) = values.first().and_then(|(_, loss)| self.memory.spikes.see(*loss)) {
            self.log.spike(step, spike, items)?;
        }
        if step + 1 == warned_at(training.steps)
            && let Some(warning) = self.objective.warning(self.memory.spikes.mean())
        {
            self.log.warn(step, &warning)?;
        }
        if training.logs(step) {
            self.log.numbers(step, &[values.as_slice(), &more].concat())?;
        }
        Ok(())
    }

    /// Reports each damaged picture once, and stops where there are too many.
    fn count_damaged(&mut self, step: usize, batch: &Batch<O::Share>) -> Result<()> {
        for damaged in &batch.damaged {
            if !self.memory.damaged.contains(&damaged.name) {
                self.memory.damaged.push(damaged.name.clone());
                self.log.damaged(step, damaged)?;
            }
        }
        let damage = self.objective.damage();
        let Some(pictures) = damage.pictures else { return Ok(()) };
        let (count, most) = (self.memory.damaged.len(), (pictures as f64 * damage.most).floor());
        if count as f64 > most {
            let last = batch.damaged.last().map(|damaged| damaged.reason.clone());
            let last = last.or_else(|| self.memory.damaged.last().cloned()).unwrap_or_default();
            return Err(Error::data(
                "damaged pictures",
                format!("at most {most} of {pictures} (`data.max_damaged` of the recipe)"),
                format!("{count}, the last: {last}"),
            ));
        }
        Ok(())
    }

    /// Writes down why the run stops. That the disk may be full is why this may fail, and is no news then.
    fn note(&mut self, step: usize, error: &Error) {
        let _ = self.log.stopped(step, error);
    }

    /// What the untrained network is worth; and that the watch can look, and has the number that decides.
    fn look_at_untrained(&mut self) -> Result<()> {
        if self.objective.training().validate_every == 0 {
            return Ok(());
        }
        let observed = self.watch.look(&self.averaged(), 0)?;
        self.deciding(&observed)?;
        self.log.observation(0, 0, &observed)
    }

    /// The network with the weights that it will have in use.
    fn averaged(&self) -> N {
        fill(&self.optimizer, self.network.clone(), Weights::Averaged)
    }

    fn validate(&mut self, step: usize) -> Result<()> {
        self.optimizer.check_finite()?;
        let averaged = self.averaged();
        let observed = self.watch.look(&averaged, step + 1)?;
        self.log.observation(step, step + 1, &observed)?;
        let Some((name, value)) = self.deciding(&observed)? else { return Ok(()) };
        // Infinity, as the PSNR of perfect pictures, is no number to compare others with.
        let before = self.memory.best.as_ref().filter(|best| best.name == name);
        if value.is_finite() && before.is_none_or(|best| best.is_beaten_by(value)) {
            let (objective, run) = (self.objective, self.session.run);
            swap::replace(&run.best(objective.part()), |folder| objective.save(&averaged, folder))?;
            self.log.best(step, &name, value)?;
            self.memory.best = Some(Best { name, steps: step + 1, value });
        }
        Ok(())
    }

    /// The number that decides which weights are best, if the recipe names one.
    fn deciding(&self, observed: &Observation) -> Result<Option<(String, f64)>> {
        let Some(name) = self.objective.training().best.clone() else { return Ok(None) };
        match observed.numbers.iter().find(|(seen, _)| *seen == name) {
            Some((_, value)) if value.is_nan() => {
                let what = format!("`{name}` of the validation");
                Err(Error::NonFinite { what, step: 0, got: value.to_string() })
            }
            Some((_, value)) => Ok(Some((name, *value))),
            None => {
                let seen: Vec<&str> = observed.numbers.iter().map(|(name, _)| name.as_str()).collect();
                Err(Error::data(
                    format!("`{}.training.best` of the recipe", self.objective.part()),
                    format!("one of {}", seen.join(", ")),
                    format!("`{name}`"),
                ))
            }
        }
    }
}

/// Steps after which a loss that has not moved is worth a warning.
fn warned_at(steps: usize) -> usize {
    (steps / 5).max(100).min(steps)
}
