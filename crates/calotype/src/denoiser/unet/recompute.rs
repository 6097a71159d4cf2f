//! Gradients of a U-Net with the activations of one stage in memory at a time: the others are computed again when
//! their turn comes.
//!
//! Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, section 4.

use burn::tensor::{Gradients, Tensor};

use super::Unet;
use super::blocks::Condition;
use super::{Beside, Flow, Stage};
use crate::error::Result;

/// What a pass begins with, none of it on an autodiff device.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// `[B, in, H, W]`.
    pub x_t: &'a Tensor<4>,
    /// `B` numbers.
    pub timesteps: &'a [f64],
    /// `[B, L, width]`.
    pub context: &'a Tensor<3>,
}

/// Runs `unet` (a constant) forward stage by stage, differentiates `loss` of its output, and goes back: each stage
/// runs again on a network that `tracked` makes with leaves of its own, whose gradients `collect` takes out; it gets
/// the leaves that `tracked` made with the network. Returns the gradient of the context.
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
    let time = unet.embed(x_t, timesteps, context, Beside::default())?;
    let on = Condition { time: &time, context, hook: None };
    // What each stage begins with is all that is kept.
    let mut flow = Flow { x: x_t.clone(), skips: vec![] };
    let mut starts: Vec<(Stage, Flow)> = Vec::new();
    for stage in unet.stages() {
        starts.push((stage, flow.clone()));
        flow = unet.run(stage, flow, on);
    }
    let predicted = leaf(&flow.x);
    let gradients = loss(predicted.clone())?.backward();
    let mut of_x = gradient(&predicted, &gradients);
    // Of the skips that lie between two stages, in their order.
    let mut of_skips: Vec<Tensor<4>> = Vec::new();
    let (mut of_time, mut of_context) = (time.zeros_like(), context.zeros_like());

    while let Some((stage, start)) = starts.pop() {
        let (leaves, network) = tracked();
        let (x, time, context) = (leaf(&start.x), leaf(&time), leaf(context));
        let skips: Vec<Tensor<4>> = start.skips.iter().map(leaf).collect();
        let on = Condition { time: &time, context: &context, hook: None };
        let end = network.run(stage, Flow { x: x.clone(), skips: skips.clone() }, on);
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
    let time = network.embed(&x_t, timesteps, &context, Beside::default())?;
    if time.is_tracked() {
        collect(&leaves, &mut carry(&time, &of_time).backward());
    }
    Ok(of_context)
}

fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().autodiff().require_grad()
}

/// The number whose gradient carries `of` back through `x`: Σ x · of.
pub fn carry<const D: usize>(x: &Tensor<D>, of: &Tensor<D>) -> Tensor<1> {
    (x.clone() * of.clone().autodiff()).sum()
}

/// Zeros where nothing depends on the leaf.
fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    leaf.grad(gradients).unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like())
}
