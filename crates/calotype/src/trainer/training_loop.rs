//! The loop that every part runs: batch, gradients, learning rate, optimiser, log, validation, checkpoint.

use burn::tensor::Device;
use serde::Serialize;

use super::damage::Damage;
use super::objective::{Batch, Objective, Sight, Watch};
use super::optimizer::Optimizer;
use super::recipe::TrainingRecipe;
use super::run_log::RunLog;
use super::state::{Best, Checkpoints, Memory};
use super::weights::{Weights, fill, optimizer, power_averages};
use super::{Preflight, claim, preflight, swap};
use crate::data::loader::prepared_ahead;
use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::progress::Progress;
use crate::runs::folder::{RunFolder, file_after};

/// Where and how a part is trained.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The run's folder.
    pub run: &'a RunFolder,
    /// Threads; changes the time, not the result.
    pub threads: usize,
    /// Threads that prepare batches ahead; changes the time, not the result.
    pub workers: usize,
    /// Go on from the last checkpoint, if there is one.
    pub resume: bool,
    /// Whether to check the training before its first step.
    pub preflight: Preflight,
    /// Where the networks run.
    pub device: &'a Device,
    /// Watches, and may stop the loop.
    pub progress: &'a dyn Progress,
}

/// How [`train`] ends.
pub enum Outcome {
    /// All steps are done; the optimiser has the weights and their averages.
    Trained(Optimizer),
    /// Only the check was asked for.
    Checked(preflight::Report),
}

/// [`train`], and the averaged weights written into the run's model folder. What the check found, if only that was
/// asked for.
///
/// # Errors
/// As [`train`]; those of [`Objective::save`].
pub fn train_and_save<O: Objective>(
    session: Session,
    objective: &O,
    network: O::Network,
    settings: &impl Serialize,
    damage: Damage,
    watch: &dyn Watch<O::Network>,
) -> Result<Option<preflight::Report>> {
    match train(session, objective, network.clone(), settings, damage, watch)? {
        Outcome::Checked(report) => Ok(Some(report)),
        Outcome::Trained(optimizer) => {
            objective.save(&fill(&optimizer, network, Weights::Averaged), &session.run.model())?;
            Ok(None)
        }
    }
}

/// Trains `network` until all steps are done.
///
/// `settings` are what the training depends on; a resume under other ones is refused. `damage` is how many pictures
/// may be damaged.
///
/// # Errors
/// Those of `objective`; `Error::Preflight`; `Error::Diverged` (the last checkpoint is from before);
/// `Error::Data` for too many damaged pictures; `Error::Interrupted` after saving, when `progress` says so;
/// `Error::Argument` for a run that has checkpoints already and is not resumed; `Error::Io`.
pub fn train<O: Objective>(
    session: Session,
    objective: &O,
    network: O::Network,
    settings: &impl Serialize,
    damage: Damage,
    watch: &dyn Watch<O::Network>,
) -> Result<Outcome> {
    let (training, run, part) = (objective.training(), session.run, objective.part());
    if session.preflight == Preflight::Only {
        return Ok(Outcome::Checked(preflight::check(objective, &network, session.threads)?));
    }
    let begun = run.has_begun(part)?;
    if begun && !session.resume {
        let expected = format!("a run without a trained {part}, or to go on with this one");
        return Err(Error::argument("run", expected, run.path().display()));
    }
    if session.preflight == Preflight::Before && !begun {
        preflight::check(objective, &network, session.threads)?.refuse_faults(session.progress)?;
    }
    let _claim = claim::claim(run, part)?;
    let mut optimizer = optimizer(objective, &network);
    let checkpoints = Checkpoints::open(run.checkpoints(part), training.keep_checkpoints, settings)?;
    let memory = checkpoints.load(&mut optimizer)?;
    if memory.is_none() {
        claim::forget(run, part)?;
    }
    let first = optimizer.steps();
    let mut running = Running {
        session,
        objective,
        checkpoints,
        memory: memory.unwrap_or_default(),
        log: RunLog::open(run, part, first, session.progress)?,
        damage,
        watch,
    };
    session.progress.begin(part.name(), first, training.steps);
    let mut network = fill(&optimizer, network, Weights::Current);
    let prepare = |step: usize| objective.prepare(step);
    prepared_ahead(session.workers, first..training.steps, prepare, |next| -> Result<()> {
        if first == 0 {
            running.log.settings(settings)?;
            running.before_first(&optimizer, &network)?;
        }
        for step in first..training.steps {
            let result = next(step).and_then(|batch| {
                running.step(&mut optimizer, &network, step, &batch)?;
                network = fill(&optimizer, network.clone(), Weights::Current);
                running.after_step(&optimizer, &network, step)
            });
            result.inspect_err(|error| running.note(step, error))?;
        }
        Ok(())
    })?;
    session.progress.end(part.name());
    Ok(Outcome::Trained(optimizer))
}

/// A training on its way.
struct Running<'a, O: Objective> {
    session: Session<'a>,
    objective: &'a O,
    checkpoints: Checkpoints,
    memory: Memory,
    log: RunLog<'a>,
    damage: Damage,
    watch: &'a dyn Watch<O::Network>,
}

impl<O: Objective> Running<'_, O> {
    fn training(&self) -> &TrainingRecipe {
        self.objective.training()
    }

    /// One step of the optimiser. Nothing of it has changed if this fails.
    fn step(
        &mut self,
        optimizer: &mut Optimizer,
        network: &O::Network,
        step: usize,
        batch: &Batch<O::Share>,
    ) -> Result<()> {
        self.count_damaged(step, batch)?;
        let names = self.objective.logged();
        let rate = self.training().rate(step);
        let computed = self.objective.gradients(network, step, batch, self.session.threads)?;
        let norm = optimizer
            .step(&computed.gradients, rate)
            .map_err(|error| error.in_batch(step, batch.items.clone()))?;
        self.objective.constrain(optimizer);

        let values: Vec<(&str, f64)> = names.into_iter().zip(computed.logged).collect();
        let message =
            values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join("  ");
        self.session.progress.step(step + 1, &message);
        if let Some(spike) = values.first().and_then(|(_, loss)| self.memory.spikes.see(*loss)) {
            self.log.spike(step, spike, &batch.items)?;
        }
        if step + 1 == warned_at(self.training().steps)
            && let Some(warning) = self.objective.warning(self.memory.spikes.mean())
        {
            self.log.warn(step, &warning)?;
        }
        let (every, last) = (self.training().log_every, step + 1 == self.training().steps);
        if step.is_multiple_of(every) || last {
            let extra = [("gradient_norm", norm), ("learning_rate", rate)];
            self.log.numbers(step, &[values.as_slice(), &extra].concat())?;
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
        let Some(pictures) = self.damage.pictures else { return Ok(()) };
        let (count, most) = (self.memory.damaged.len(), (pictures as f64 * self.damage.most).floor());
        if count as f64 > most {
            let last = batch.damaged.last().map(|damaged| damaged.reason.clone());
            let last = last.or_else(|| self.memory.damaged.last().cloned()).unwrap_or_default();
            return Err(Error::Data {
                what: "damaged pictures".into(),
                expected: format!("at most {most} of {pictures} (`data.max_damaged` of the recipe)"),
                got: format!("{count}, the last: {last}"),
            });
        }
        Ok(())
    }

    /// Writes down why the run stops. That the disk may be full is why this may fail, and is no news then.
    fn note(&mut self, step: usize, error: &Error) {
        let _ = self.log.stopped(step, error);
    }

    /// Validation, snapshots and checkpoint, where it is time for them.
    fn after_step(&mut self, optimizer: &Optimizer, network: &O::Network, step: usize) -> Result<()> {
        let (done, steps) = (step + 1, self.training().steps);
        let validate = self.training().validate_every;
        if validate > 0 && (done.is_multiple_of(validate) || done == steps) {
            optimizer.check_finite()?;
            self.validate(optimizer, network, step)?;
        }
        if let Some(snapshots) = &self.training().ema_snapshots
            && done.is_multiple_of(snapshots.every)
        {
            let path = file_after(&self.session.run.ema(self.objective.part()), done);
            safetensors::write(&path, &power_averages(optimizer))?;
        }
        let interrupted = self.session.progress.interrupted();
        if done.is_multiple_of(self.training().checkpoint_every) || done == steps || interrupted {
            optimizer.check_finite()?;
            self.checkpoints.save(optimizer, &self.memory)?;
        }
        match interrupted {
            true => Err(Error::Interrupted { step: done }),
            false => Ok(()),
        }
    }

    /// What the untrained network is worth; and that the watch can look, and has the number that decides.
    fn before_first(&mut self, optimizer: &Optimizer, network: &O::Network) -> Result<()> {
        if self.training().validate_every == 0 {
            return Ok(());
        }
        let averaged = fill(optimizer, network.clone(), Weights::Averaged);
        let sight = self.watch.look(&averaged, 0)?;
        self.deciding(&sight)?;
        self.log.sight(0, 0, &sight)
    }

    fn validate(&mut self, optimizer: &Optimizer, network: &O::Network, step: usize) -> Result<()> {
        let averaged = fill(optimizer, network.clone(), Weights::Averaged);
        let sight = self.watch.look(&averaged, step + 1)?;
        self.log.sight(step, step + 1, &sight)?;
        let Some((name, value)) = self.deciding(&sight)? else { return Ok(()) };
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
    fn deciding(&self, sight: &Sight) -> Result<Option<(String, f64)>> {
        let Some(name) = self.training().best.clone() else { return Ok(None) };
        match sight.numbers.iter().find(|(seen, _)| *seen == name) {
            Some((_, value)) if value.is_nan() => {
                let what = format!("`{name}` of the validation");
                Err(Error::NonFinite { what, step: 0, got: value.to_string() })
            }
            Some((_, value)) => Ok(Some((name, *value))),
            None => {
                let seen: Vec<&str> = sight.numbers.iter().map(|(name, _)| name.as_str()).collect();
                Err(Error::Data {
                    what: format!("`{}.training.best` of the recipe", self.objective.part()),
                    expected: format!("one of {}", seen.join(", ")),
                    got: format!("`{name}`"),
                })
            }
        }
    }
}

/// Steps after which a loss that has not moved is worth a warning.
fn warned_at(steps: usize) -> usize {
    (steps / 5).max(100).min(steps)
}
