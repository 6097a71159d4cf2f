//! The loop that every part runs: batch, gradients, learning rate, optimiser, log, validation, checkpoint.

use std::collections::HashMap;

use burn::module::Module;
use calotype_kernels::Isa;
use serde::Serialize;
use serde_json::json;

use super::batch::Batch;
use super::learner::{Learner, stays_on_device};
use super::objective::{Objective, Watch};
use super::optimizer::{Numbers, Optimizer};
use super::run_log::RunLog;
use super::session::Session;
use super::state::{Checkpoints, Memory};
use super::watching::{deciding, validate};
use super::weights::{self, Weights, fill, optimizer, power_averages};
use super::{claim, device_room, preflight};
use crate::data::loader::prepared_ahead;
use crate::data::source::Damaged;
use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::ranks::agreement::{agree, require_same, vote};
use crate::ranks::root::at_root;
use crate::ranks::{self, Alone, Ranks, gather_texts, is_root};
use crate::runs::folder::file_after;

/// Trains `network` until all steps are done, and writes it with its averaged weights into the run's model folder.
/// Returns the optimiser, which has the weights and all averages that are this rank's.
///
/// Of several ranks each computes its shares of every batch and updates its share of the parameters; rank 0 alone reads
/// and writes the run. The weights are those of one process, bit for bit.
///
/// # Errors
/// Those of `objective`; `Error::Preflight`; `Error::Diverged` (the last checkpoint is from before);
/// `Error::Data` for too many damaged pictures; `Error::Interrupted` after saving, when `progress` says so;
/// `Error::Argument` if the run has a checkpoint of the part and `session` does not resume it, or the other way round;
/// `Error::Config` for a resume under other settings; `Error::Io`. Of several ranks all stop, with the same message.
pub fn train<N: Module + Sync, O: Objective<N>>(
    session: Session,
    mut objective: O,
    network: N,
    watch: &dyn Watch<N>,
) -> Result<Optimizer> {
    let (run, part, ranks) = (session.run, objective.part(), session.ranks);
    let (settings, training) = (objective.settings(), objective.training());
    let (steps, parts, keep) = (training.steps, training.parts, training.keep_checkpoints);
    require_fitting(ranks, parts, &settings)?;
    let _claim = agree(ranks, is_root(ranks).then(|| claim::claim(run, part)).transpose())?;
    let mut optimizer = optimizer(&objective, &network, ranks);
    let stays = stays_on_device(&objective, &optimizer, &session);
    agree(ranks, device_room::require(&optimizer, stays, session.device))?;
    let checkpoints = Checkpoints::open(run.checkpoints(part), keep, &settings)?;
    let whole = || weights::optimizer(&objective, &network, &Alone);
    let memory = checkpoints.load_among(&mut optimizer, whole, ranks)?;
    if memory.is_some() != session.resume {
        let expected = if session.resume {
            format!("a run with a checkpoint of {part}")
        } else {
            format!("a run without a trained {part}, or `resume` to go on with this one")
        };
        return agree(ranks, Err(Error::argument("run", expected, run.path().display())));
    }
    if session.preflight && !session.resume {
        ranks.begin("the check before the first step");
        let check = || preflight::check(&objective, &network, &session)?.refuse_faults(session.progress);
        at_root(ranks, check)?;
    }
    agree(ranks, objective.fill_caches(&session))?;
    let first = optimizer.steps();
    let open = || {
        if !session.resume {
            claim::forget(run, part)?;
        }
        let mut log = RunLog::open(run, part, first, session.progress)?;
        if first == 0 {
            log.settings(&settings)?;
        }
        Ok(log)
    };
    let log = agree(ranks, is_root(ranks).then(open).transpose())?;

    session.progress.begin(part.name(), first, steps);
    let learner = Learner::new(&objective, network, optimizer, &session)?;
    let memory = memory.unwrap_or_default();
    let mut running = Running { session, objective: &objective, learner, checkpoints, memory, log, watch };
    let own = ranks::own(parts, ranks.rank(), ranks.count());
    prepared_ahead(
        session.workers,
        first..steps,
        |step| objective.prepare(step, own.clone()),
        |next| -> Result<()> {
            if first == 0 {
                running.look_at_untrained()?;
            }
            for step in first..steps {
                ranks.begin(&format!("step {step}"));
                let taken = vote(ranks, next(step), |batch| !batch.damaged.is_empty());
                let taken = taken.and_then(|(batch, damaged)| running.step(step, &batch, damaged));
                taken.inspect_err(|error| running.note(step, error))?;
            }
            Ok(())
        },
    )?;
    session.progress.end(part.name());
    let (network, optimizer) = running.learner.into_parts();
    ranks.begin("writing the model");
    let whole = optimizer.gathered(Numbers::Averages, ranks)?;
    at_root(ranks, || match &whole {
        Some(whole) => objective.save(&fill(whole, network.clone(), Weights::Averaged), &run.model()),
        None => Ok(()),
    })?;
    drop(whole);
    Ok(optimizer)
}

/// Refuses ranks without a share of the batch, and ranks that do not train the same.
fn require_fitting(ranks: &dyn Ranks, parts: usize, settings: &impl Serialize) -> Result<()> {
    if ranks.count() == 1 {
        return Ok(());
    }
    if ranks.count() > parts {
        let expected = format!("at most {parts}, the `parts` of a batch in the recipe");
        return agree(ranks, Err(Error::argument("ranks", expected, ranks.count())));
    }
    let same = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "instruction set": format!("{:?}", Isa::best()),
        "training": settings,
    });
    require_same(ranks, &same)
}

/// A training on its way.
struct Running<'a, N: Module + Sync, O: Objective<N>> {
    session: Session<'a>,
    objective: &'a O,
    learner: Learner<N>,
    checkpoints: Checkpoints,
    memory: Memory,
    /// Rank 0's.
    log: Option<RunLog<'a>>,
    watch: &'a dyn Watch<N>,
}

impl<N: Module + Sync, O: Objective<N>> Running<'_, N, O> {
    /// One step, from its batch to its checkpoint. The optimiser has not changed if there are no finite gradients.
    ///
    /// - `damaged`: whether any rank has found damaged pictures.
    fn step(&mut self, step: usize, batch: &Batch<O::Share>, damaged: bool) -> Result<()> {
        let (objective, training, done) = (self.objective, self.objective.training(), step + 1);
        let ranks = self.session.ranks;
        self.count_damaged(step, if damaged { all_damaged(&batch.damaged, ranks)? } else { vec![] })?;
        let learned = self.learner.step(objective, step, batch, (self.session.threads, ranks))?;
        let rate = objective.learning_rate(step);
        let more = [("gradient_norm", learned.gradient_norm), ("learning_rate", rate)];
        let reported = self.report(step, &batch.items, learned.logged, more);
        let ((), interrupted) = vote(ranks, reported, |()| self.session.progress.interrupted())?;
        let saves = training.saves(done) || interrupted;
        if training.validates(done) || training.keeps_averages(done) || saves {
            self.look_back(step, saves)?;
        }
        if interrupted { agree(ranks, Err(Error::Interrupted { step: done })) } else { Ok(()) }
    }

    /// What is done now and then, by rank 0: validation, averages for later, a checkpoint.
    fn look_back(&mut self, step: usize, saves: bool) -> Result<()> {
        let (objective, run, ranks) = (self.objective, self.session.run, self.session.ranks);
        let (training, done) = (objective.training(), step + 1);
        let Self { learner, checkpoints, memory, log, watch, .. } = self;
        let (network, optimizer) = learner.look();
        agree(ranks, optimizer.check_finite())?;
        let whole = optimizer.gathered(if saves { Numbers::All } else { Numbers::Averages }, ranks)?;
        ranks.begin(&format!("validation and checkpoint after step {step}"));
        at_root(ranks, || {
            let (Some(whole), Some(log)) = (&whole, log) else { return Ok(()) };
            if training.validates(done) {
                let averaged = fill(whole, network.clone(), Weights::Averaged);
                validate(objective, (run, log, memory), *watch, &averaged, step)?;
            }
            if training.keeps_averages(done) {
                let path = file_after(&run.ema(objective.part()), done);
                safetensors::write_borrowed(&path, power_averages(whole), HashMap::new())?;
            }
            if saves { checkpoints.save(whole, memory) } else { Ok(()) }
        })?;
        Ok(())
    }

    /// Rank 0 tells how the step went: the mean losses `logged` always, and with `more` where it is time for a line.
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
        let spike = values.first().and_then(|(_, loss)| self.memory.spikes.see(*loss));
        let mean = self.memory.spikes.mean();
        let write = |log: &mut RunLog| {
            if let Some(spike) = spike {
                log.spike(step, spike, items)?;
            }
            if step + 1 == warned_at(training.steps)
                && let Some(warning) = self.objective.warning(mean)
            {
                log.warn(step, &warning)?;
            }
            if training.logs(step) { log.numbers(step, &[values.as_slice(), &more].concat()) } else { Ok(()) }
        };
        self.log.as_mut().map_or(Ok(()), write)
    }

    /// Reports each damaged picture once, and stops where there are too many: every rank counts those of all.
    fn count_damaged(&mut self, step: usize, damaged: Vec<Damaged>) -> Result<()> {
        let ranks = self.session.ranks;
        for damaged in &damaged {
            if !self.memory.damaged.contains(&damaged.name) {
                self.memory.damaged.push(damaged.name.clone());
                let written = self.log.as_mut().map_or(Ok(()), |log| log.damaged(step, damaged));
                agree(ranks, written)?;
            }
        }
        let damage = self.objective.damage();
        let Some(pictures) = damage.pictures else { return Ok(()) };
        let (count, most) = (self.memory.damaged.len(), (pictures as f64 * damage.most).floor());
        if count as f64 > most {
            let last = damaged.last().map(|damaged| damaged.reason.clone());
            let last = last.or_else(|| self.memory.damaged.last().cloned()).unwrap_or_default();
            let expected = format!("at most {most} of {pictures} (`data.max_damaged` of the recipe)");
            let got = format!("{count}, the last: {last}");
            return agree(ranks, Err(Error::data("damaged pictures", expected, got)));
        }
        Ok(())
    }

    /// Writes down why the run stops. That the disk may be full is why this may fail, and is no news then.
    fn note(&mut self, step: usize, error: &Error) {
        if let Some(log) = &mut self.log {
            let _ = log.stopped(step, error);
        }
    }

    /// What the untrained network is worth; and that the watch can look, and has the number that decides.
    fn look_at_untrained(&mut self) -> Result<()> {
        if self.objective.training().validate_every == 0 {
            return Ok(());
        }
        let ranks = self.session.ranks;
        let Self { objective, learner, log, watch, .. } = self;
        let (network, optimizer) = learner.look();
        let whole = optimizer.gathered(Numbers::Averages, ranks)?;
        at_root(ranks, || {
            let (Some(whole), Some(log)) = (&whole, log) else { return Ok(()) };
            let observed = watch.look(&fill(whole, network.clone(), Weights::Averaged), 0)?;
            deciding(*objective, &observed)?;
            log.observation(0, 0, &observed)
        })?;
        Ok(())
    }
}

/// The damaged pictures of all ranks, in their order.
fn all_damaged(own: &[Damaged], ranks: &dyn Ranks) -> Result<Vec<Damaged>> {
    if ranks.count() == 1 {
        return Ok(own.to_vec());
    }
    let own: Vec<[&str; 2]> = own.iter().map(|damaged| [damaged.name.as_str(), &damaged.reason]).collect();
    let said = gather_texts(ranks, &if own.is_empty() { String::new() } else { json!(own).to_string() })?;
    let of_rank = |text: &String| serde_json::from_str::<Vec<[String; 2]>>(text).unwrap_or_default();
    let damaged = |[name, reason]: [String; 2]| Damaged { name, reason };
    Ok(said.iter().flat_map(of_rank).map(damaged).collect())
}

/// Steps after which a loss that has not moved is worth a warning.
fn warned_at(steps: usize) -> usize {
    (steps / 5).max(100).min(steps)
}
