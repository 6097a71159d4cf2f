//! The gradients of a denoiser with gradient checkpointing.

use super::DenoiserInTraining;
use super::objective::{Denoising, Latents};
use crate::denoiser::recompute::{Inputs, backward, carry};
use crate::error::{Error, Result};
use crate::files::NamedTensor;
use crate::nn::parameters;
use crate::trainer::data_parallel::BatchGradients;
use crate::trainer::objective::Number;

/// As [`differentiated`](crate::trainer::data_parallel::differentiated) of the loss of a share, but for the order of
/// sums.
///
/// # Errors
/// As there.
pub(super) fn gradients<N: DenoiserInTraining>(
    denoising: &Denoising,
    network: &N,
    share: &Latents,
) -> Result<BatchGradients> {
    let base = denoising.base;
    let sample = denoising.noised(share)?;
    let context = denoising.context(network.text(base).as_ref(), share)?;
    let inputs = Inputs { x_t: &sample.x_t, timesteps: &sample.timesteps, context: &context };
    let mut sum: Vec<NamedTensor> = parameters::shapes(network)
        .into_iter()
        .map(|(name, shape)| NamedTensor { name, values: vec![0.0; shape.iter().product()], shape })
        .collect();
    let mut value = f64::NAN;
    let loss = |predicted| {
        let loss = sample.loss(predicted);
        value = Number::of(&loss).read();
        Ok(loss)
    };
    let tracked = || {
        let leaves = parameters::tracked(network);
        let denoiser = leaves.denoiser(base);
        (leaves, denoiser)
    };
    let of_context = backward(&network.denoiser(base), inputs, loss, tracked, |leaves, gradients| {
        parameters::add_gradients(leaves, gradients, &mut sum);
    })?;
    let leaves = parameters::tracked(network);
    if let Some(text) = leaves.text(base) {
        let context = denoising.context(Some(&text), share)?;
        let mut gradients = carry(&context, &of_context).backward();
        parameters::add_gradients(&leaves, &mut gradients, &mut sum);
    }
    if !value.is_finite() {
        return Err(Error::NonFinite { what: "loss".into(), step: 0, got: value.to_string() });
    }
    Ok(BatchGradients { gradients: sum, logged: vec![value] })
}
