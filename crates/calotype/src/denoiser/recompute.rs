//! Gradients with the activations of a part of the network in memory at a time ("gradient checkpointing").
//!
//! Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, section 4.

use burn::tensor::{Gradients, Tensor};

use super::{Denoiser, unet};
use crate::error::{Error, Result};

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

/// Runs `denoiser` (a constant) forward, differentiates `loss` of its output, and goes back: each part of the network
/// runs again on a network that `tracked` makes with leaves of its own, whose gradients `collect` takes out; it gets
/// the leaves that `tracked` made with the network, which is of the kind of `denoiser`. Returns the gradient of the
/// context.
///
/// # Errors
/// As [`Denoiser::forward`]; those of `loss`; `Error::Argument` for a network that has no parts to go back by.
pub fn backward<N>(
    denoiser: &Denoiser,
    inputs: Inputs,
    loss: impl FnOnce(Tensor<4>) -> Result<Tensor<1>>,
    tracked: impl Fn() -> (N, Denoiser),
    collect: impl FnMut(&N, &mut Gradients),
) -> Result<Tensor<3>> {
    match denoiser {
        Denoiser::Unet(network) => {
            let tracked = || {
                let (leaves, network) = tracked();
                let Denoiser::Unet(network) = network else { unreachable!("as `denoiser`, see above") };
                (leaves, network)
            };
            unet::recompute::backward(network, inputs, loss, tracked, collect)
        }
        Denoiser::Flux(_) => Err(Error::argument("gradient_checkpointing", "false for Flux", true)),
    }
}

/// The number whose gradient carries `of` back through `x`: Σ x · of.
pub fn carry<const D: usize>(x: &Tensor<D>, of: &Tensor<D>) -> Tensor<1> {
    (x.clone() * of.clone().autodiff()).sum()
}
