//! The check before the first step: what would be wrong for hours without a word.

use std::time::Instant;

use burn::module::Module;
use serde::Serialize;

use super::batch::Batch;
use super::data_parallel::BatchGradients;
use super::device_room;
use super::learner::stays_on_device;
use super::objective::{Input, InputKind, Objective};
use super::session::Session;
use super::weights::{Weights, fill, optimizer};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::machine::memory::peak_bytes;
use crate::nn::parameters;
use crate::progress::Progress;
use crate::ranks::Alone;
use crate::text_encoder::ClipText;

/// Names of parameters in a message at most.
const NAMES: usize = 5;

/// What the check found, and what the training will cost.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// What is wrong, each in a sentence.
    pub faults: Vec<String>,
    /// What may be meant so, each in a sentence.
    pub warnings: Vec<String>,
    /// Numbers that are trained.
    pub trained_parameters: usize,
    /// Numbers of all parameters of the network.
    pub all_parameters: usize,
    /// Bytes of weights, gradients, moments and averages.
    pub state_bytes: usize,
    /// Most bytes that the process has had so far, activations of a step among them; where the system tells.
    pub peak_bytes: Option<u64>,
    /// About how many bytes of a GPU's memory a step takes, activations among them; none on the processor.
    pub device_bytes: Option<u64>,
    /// Of so many that this process can have there; where its driver or the system tells.
    pub of_device_bytes: Option<u64>,
    /// Seconds of one step's gradients, measured.
    pub seconds_per_step: f64,
    /// Seconds of the whole training, estimated from that.
    pub seconds: f64,
    /// The first loss.
    pub first_loss: f64,
}

impl Findings {
    /// Says the warnings, and refuses faults.
    ///
    /// # Errors
    /// `Error::Preflight` if there are faults.
    pub fn refuse_faults(self, progress: &dyn Progress) -> Result<()> {
        self.warnings.iter().for_each(|warning| progress.say(&format!("warning: {warning}")));
        if !self.faults.is_empty() {
            return Err(Error::Preflight { faults: self.faults });
        }
        Ok(())
    }
}

/// Checks the data, every term of the loss and every parameter's gradient on the first batch, with the weights of
/// the terms as they will be in the last step: β after its warm-up, the discriminator after its start.
///
/// # Errors
/// Those of the objective; what it finds is no error.
pub fn check<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    network: &N,
    session: &Session,
) -> Result<Findings> {
    let mut trained = optimizer(objective, network, &Alone);
    let stays = stays_on_device(objective, &trained, session);
    // As the training will: one that stays on its device computes the shares one after the other.
    let threads = if stays { 1 } else { session.threads };
    let of_device_bytes = device_room::all_bytes(session.device);
    let training = objective.training();
    let last = training.steps.saturating_sub(1);
    let batch = objective.prepare(0, 0..training.parts)?;
    let (mut faults, mut warnings) = (objective.doubts()?, Vec::new());
    if training.warm_up >= training.steps && training.steps > 0 {
        let (warm_up, steps) = (training.warm_up, training.steps);
        warnings.push(format!("the learning rate rises over {warm_up} steps, and there are only {steps}"));
    }
    let captions = caption_doubt(&batch.captions, objective.needs_different_captions());
    for doubt in input_doubts(objective, &batch)?.into_iter().chain(captions) {
        match doubt {
            Doubt::Fault(text) => faults.push(text),
            Doubt::Warning(text) => warnings.push(text),
        }
    }

    let mut first_loss = f64::NAN;
    let started = Instant::now();
    let of_batch =
        |network: &N| objective.gradients(network, last, &batch, threads, &Alone)?.whole(last, &batch);
    let computed = of_batch(network);
    let seconds_per_step = started.elapsed().as_secs_f64();
    match computed {
        Ok(BatchGradients { gradients, logged }) => {
            first_loss = logged.first().copied().unwrap_or(f64::NAN);
            faults.extend(term_faults(objective, network, last, &batch)?);
            faults.extend(gradient_fault(&gradients, || {
                trained.step(&gradients, training.learning_rate)?;
                let moved = fill(&trained, network.clone(), Weights::Current);
                Ok(of_batch(&moved)?.gradients)
            })?);
        }
        Err(error @ Error::Diverged { .. }) => faults.push(error.to_string()),
        Err(error) => return Err(error),
    }
    let trained_parameters = trained.weights();
    let device_bytes = device_room::bytes_of_a_step(&trained, stays, session.device);
    warnings.extend(device_room::doubt(device_bytes, of_device_bytes));
    Ok(Findings {
        faults,
        warnings,
        trained_parameters,
        all_parameters: parameters::count(network),
        // The weights that the optimiser owns, its moments and averages; beside them gradients and the network's own.
        state_bytes: 4 * (trained.numbers() + 2 * trained_parameters),
        peak_bytes: peak_bytes(),
        device_bytes,
        of_device_bytes,
        seconds_per_step,
        seconds: seconds_per_step * training.steps as f64,
        first_loss,
    })
}

/// Terms of the loss that do not reach the parameters.
fn term_faults<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    network: &N,
    step: usize,
    batch: &Batch<O::Share>,
) -> Result<Vec<String>> {
    let Some(share) = batch.shares.first() else { return Ok(vec![]) };
    let trains = |name: &str| objective.trains(name);
    let loss = || {
        let network = parameters::tracked_where(network, trains);
        Ok::<_, Error>((objective.loss(&network, step, share)?, network))
    };
    let count = loss()?.0.terms.len();
    // The gradient of a loss of one term has been looked at already.
    if count < 2 {
        return Ok(vec![]);
    }
    let mut faults = Vec::new();
    for i in 0..count {
        let (loss, network) = loss()?;
        let Some((name, term)) = loss.terms.into_iter().nth(i) else { continue };
        let reaches = term.is_tracked() && {
            let mut gradients = term.backward();
            let gradients = parameters::named_gradients(&network, &mut gradients);
            gradients.iter().any(|gradient| gradient.values.iter().any(|&g| g != 0.0))
        };
        if !reaches {
            faults.push(format!("the term `{name}` of the loss has no gradient: it teaches nothing"));
        }
    }
    Ok(faults)
}

/// Parameters that have no gradient, and still none in those `after_a_step`.
fn gradient_fault(
    gradients: &[NamedTensor],
    after_a_step: impl FnOnce() -> Result<Vec<NamedTensor>>,
) -> Result<Option<String>> {
    let silent = |gradients: &[NamedTensor]| -> Vec<String> {
        let zero = |gradient: &&NamedTensor| gradient.values.iter().all(|&g| g == 0.0);
        gradients.iter().filter(zero).map(|gradient| gradient.name.clone()).collect()
    };
    let mut without = silent(gradients);
    if !without.is_empty() {
        // A product with a factor that starts at zero has no gradient yet, but after a step.
        let again = silent(&after_a_step()?);
        without.retain(|name| again.contains(name));
    }
    if without.is_empty() {
        return Ok(None);
    }
    let names = without.iter().take(NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = without.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Some(format!("the loss has no gradient for {names}{more}: they will never change")))
}

/// How sure the check is.
enum Doubt {
    Fault(String),
    Warning(String),
}

fn input_doubts<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    batch: &Batch<O::Share>,
) -> Result<Vec<Doubt>> {
    let mut inputs: Vec<Input> = Vec::new();
    for share in &batch.shares {
        inputs.extend(objective.inputs(share)?);
    }
    let of_kind = |kind: InputKind| {
        let values = inputs.iter().filter(|input| input.kind == kind).flat_map(|input| &input.values);
        let values: Vec<f64> = values.map(|&value| f64::from(value)).collect();
        (!values.is_empty()).then(|| doubt_of(kind, &values, batch.items.len())).flatten()
    };
    Ok([InputKind::Picture, InputKind::Latent].into_iter().filter_map(of_kind).collect())
}

/// Samples from which on their spread says something about all others.
const MANY: usize = 4;

fn doubt_of(kind: InputKind, values: &[f64], samples: usize) -> Option<Doubt> {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    if !std.is_finite() {
        return Some(Doubt::Fault("the inputs have NaN or infinity among them".into()));
    }
    let range = format!("pictures reach from {low:.3} to {high:.3}, expected -1 to 1");
    match kind {
        InputKind::Picture if high > 2.0 => {
            Some(Doubt::Fault(format!("{range}: they look like levels from 0 to 255")))
        }
        InputKind::Picture if low < -1.001 || high > 1.001 => Some(Doubt::Fault(range)),
        // Drawings on white may have no dark pixel.
        InputKind::Picture if low >= 0.0 => {
            Some(Doubt::Warning(format!("{range}: they look like levels from 0 to 1")))
        }
        InputKind::Picture if std == 0.0 => {
            Some(Doubt::Warning("all pixels of the first batch are equal".into()))
        }
        InputKind::Latent if !(0.5..=2.0).contains(&std) => {
            let text = format!(
                "scaled latents have a standard deviation of {std:.3}, expected about 1: `scaling_factor` in the VAE's \
                 config.json does not fit these pictures (by them it would be {:.4} times that)",
                1.0 / std
            );
            Some(if samples >= MANY { Doubt::Fault(text) } else { Doubt::Warning(text) })
        }
        _ => None,
    }
}

fn caption_doubt(captions: &[String], need_differ: bool) -> Option<Doubt> {
    let first = captions.first()?;
    if captions.iter().all(|caption| caption.trim().is_empty()) {
        return Some(Doubt::Fault("every caption of the first batch is empty".into()));
    }
    let equal = captions.len() > 2 && captions.iter().all(|caption| caption == first);
    let text = format!("all {} captions of the first batch are equal: `{first}`", captions.len());
    // One subject may be what a LoRA is for; nothing can be told apart by one caption.
    equal.then_some(if need_differ { Doubt::Fault(text) } else { Doubt::Warning(text) })
}

/// What speaks against a text tower's having been trained. A layer norm starts with weights of exactly 1 and biases of
/// exactly 0, and no training leaves all of them there.
pub(super) fn text_tower_fault(text: &ClipText) -> Option<String> {
    let norms: Vec<_> = parameters::named_parameters(text)
        .into_iter()
        .filter(|tensor| tensor.name.contains("layer_norm"))
        .collect();
    let untouched = |start: f32, end: &str| {
        let mut these = norms.iter().filter(|tensor| tensor.name.ends_with(end)).peekable();
        these.peek().is_some() && these.all(|tensor| tensor.values.iter().all(|&value| value == start))
    };
    let random = untouched(1.0, ".weight") && untouched(0.0, ".bias");
    random.then(|| {
        "the text encoder looks random: all its layer norms are as they start; captions will mean nothing"
            .into()
    })
}
