//! The loop that every part runs: gradients, learning rate, optimiser, log, checkpoint.

use burn::module::Module;
use serde::Serialize;

use super::data_parallel::BatchGradients;
use super::metrics_log::MetricsLog;
use super::optimizer::AdamW;
use super::recipe::TrainingRecipe;
use super::{Progress, RunFolder, checkpoint};
use crate::error::{Error, Result};

/// Where and how a part is trained.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The run's folder.
    pub run: &'a RunFolder,
    /// Threads; changes the time, not the result.
    pub threads: usize,
    /// Go on from the last checkpoint, if there is one.
    pub resume: bool,
    /// Watches, and may stop the loop.
    pub progress: &'a dyn Progress,
}

/// A part of the model, as the loop sees it.
pub struct Part<'a, S: Serialize> {
    /// `vae`, `clip`, `diffusion`: names the log and the checkpoint.
    pub name: &'a str,
    /// What the training depends on; a resume under other settings is refused.
    pub settings: &'a S,
    /// Steps, learning rate and the rest.
    pub training: &'a TrainingRecipe,
    /// Names of the numbers that the gradients come with.
    pub logged: &'a [&'a str],
}

/// Every how many steps a line is logged.
const LOG_EVERY: usize = 10;

/// Trains `network` for `part.training.steps` steps and returns the optimiser, which has the weights
/// and their average.
///
/// `gradients(network, step)` computes the batch of `step` and its gradients; it must be a pure
/// function of both, and then a resumed run equals one that was never stopped, bit for bit.
/// `after_step` may constrain weights.
///
/// # Errors
/// Those of `gradients`; `Error::NonFinite` (the last checkpoint is from before);
/// `Error::Interrupted` after saving, when `progress` says so; `Error::Io`.
pub fn train<M: Module, S: Serialize>(
    session: Session,
    part: Part<S>,
    network: M,
    mut gradients: impl FnMut(&M, usize) -> Result<BatchGradients>,
    after_step: impl Fn(&mut AdamW),
) -> Result<AdamW> {
    let Part { name, settings, training, logged } = part;
    let state = session.run.state(name);
    let settings = serde_json::to_string(settings).map_err(|e| Error::format(&state, "JSON", e))?;
    let mut optimizer = AdamW::new(&network, training.optimizer.clone());
    if session.resume && state.exists() {
        checkpoint::load(&state, &mut optimizer, &settings)?;
    }
    let mut log = MetricsLog::open(&session.run.log(name), optimizer.steps())?;
    session.progress.begin(name, optimizer.steps(), training.steps);
    let mut network = optimizer.current(network);
    for step in optimizer.steps()..training.steps {
        let rate = training.lr_schedule.at(step, training.steps, training.warm_up, training.learning_rate);
        let batch = gradients(&network, step)?;
        let norm = optimizer.step(&batch.gradients, rate)?;
        after_step(&mut optimizer);
        network = optimizer.current(network);

        let values: Vec<(&str, f64)> = logged.iter().copied().zip(batch.logged).collect();
        let message =
            values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join("  ");
        session.progress.step(step + 1, &message);
        if step % LOG_EVERY == 0 || step + 1 == training.steps {
            let extra = [("gradient_norm", norm), ("learning_rate", rate)];
            log.write(step, &[values.as_slice(), &extra].concat())?;
        }
        let interrupted = session.progress.interrupted();
        if (step + 1) % training.checkpoint_every == 0 || step + 1 == training.steps || interrupted {
            optimizer.check_finite()?;
            checkpoint::save(&state, &optimizer, &settings)?;
        }
        if interrupted {
            return Err(Error::Interrupted { step: step + 1 });
        }
    }
    session.progress.end(name);
    Ok(optimizer)
}
