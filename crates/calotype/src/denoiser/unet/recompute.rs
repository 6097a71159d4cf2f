//! Gradients of a U-Net with the activations of one stage in memory at a time.
//!
//! The others are computed again when their turn comes.

use burn::tensor::{Gradients, Tensor};

use super::blocks::Embedded;
use super::{Between, Stage, Unet};
use crate::denoiser::Condition;
use crate::denoiser::recompute::{Inputs, carry};
use crate::error::Result;

/// [`recompute::backward`](crate::denoiser::recompute::backward), stage by stage.
///
/// # Errors
/// As [`Unet::forward`]; those of `loss`.
pub fn backward<N>(
    unet: &Unet,
    inputs: Inputs,
    loss: impl FnOnce(Tensor<4>) -> Result<Tensor<1>>,
    tracked: impl Fn() -> (N, Unet),
    mut collect: impl FnMut(&N, &mut Gradients),
) -> Result<Tensor<3>> {
    let Inputs { x_t, timesteps, context } = inputs;
    let condition = Condition::of_context(context.clone());
    let time = unet.embed(x_t, timesteps, &condition)?;
    let on = Embedded { time: &time, context, hook: None };
    // What each stage begins with is all that is kept.
    let mut reached = Between { x: x_t.clone(), skips: vec![] };
    let mut starts: Vec<(Stage, Between)> = Vec::new();
    for stage in unet.stages() {
        starts.push((stage, reached.clone()));
        reached = unet.run(stage, reached, on);
    }
    let predicted = leaf(&reached.x);
    let gradients = loss(predicted.clone())?.backward();
    let mut of_x = gradient(&predicted, &gradients);
    // Of the skips that lie between two stages, in their order.
    let mut of_skips: Vec<Tensor<4>> = Vec::new();
    let (mut of_time, mut of_context) = (time.zeros_like(), context.zeros_like());

    while let Some((stage, start)) = starts.pop() {
        let (leaves, network) = tracked();
        let (x, time, context) = (leaf(&start.x), leaf(&time), leaf(context));
        let skips: Vec<Tensor<4>> = start.skips.iter().map(leaf).collect();
        let on = Embedded { time: &time, context: &context, hook: None };
        let end = network.run(stage, Between { x: x.clone(), skips: skips.clone() }, on);
        // Skips that the stage leaves alone pass their gradient on.
        let untouched = skips.len().min(end.skips.len());
        let made = end.skips.iter().skip(untouched).zip(of_skips.drain(untouched..));
        let carried = made.fold(carry(&end.x, &of_x), |sum, (skip, of)| sum + carry(skip, &of));
        let mut gradients = carried.backward();
        collect(&leaves, &mut gradients);
        of_x = gradient(&x, &gradients);
        of_time = of_time + gradient(&time, &gradients);
        of_context = of_context + gradient(&context, &gradients);
        of_skips.extend(skips[untouched..].iter().map(|skip| gradient(skip, &gradients)));
    }

    let (leaves, network) = tracked();
    let (x_t, context) = (x_t.clone().autodiff(), context.clone().autodiff());
    let time = network.embed(&x_t, timesteps, &Condition::of_context(context))?;
    if time.is_tracked() {
        collect(&leaves, &mut carry(&time, &of_time).backward());
    }
    Ok(of_context)
}

fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().autodiff().require_grad()
}

/// Zeros where nothing depends on the leaf.
fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    leaf.grad(gradients).unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like())
}
