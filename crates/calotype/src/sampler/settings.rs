//! What a run decides beyond the model's own configuration.

use super::SamplerKind;
use crate::diffusion::SigmaSpacing;
use crate::named::{named_enum, serde_by_name};

named_enum! {
    /// Whose results to repeat where ours differ on purpose; docs/samplers.md lists where.
    pub enum Compat: "compat" {
        /// diffusers, its slips included.
        Diffusers = "diffusers",
    }
}

serde_by_name!(Compat);

/// The steps of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerSettings {
    /// Formula of the steps.
    pub kind: SamplerKind,
    /// Number of steps.
    pub steps: usize,
    /// DDIM's η, in [0, 1]; 0 for the others.
    pub eta: f64,
    /// Spacing of the noise levels; `None` for the model's own.
    pub schedule: Option<SigmaSpacing>,
    /// Whose slips to repeat.
    pub compat: Option<Compat>,
    /// Tokens of the picture, for networks that read it in tokens: Flux's, whose times are spaced by their number.
    pub picture_tokens: Option<usize>,
}

impl SamplerSettings {
    /// η = 0, the model's own noise levels.
    pub fn new(kind: SamplerKind, steps: usize) -> Self {
        Self { kind, steps, eta: 0.0, schedule: None, compat: None, picture_tokens: None }
    }
}
