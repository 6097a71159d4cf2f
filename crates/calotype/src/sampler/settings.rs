//! What a run decides beyond the model's own configuration.

use std::fmt;
use std::str::FromStr;

use super::SamplerKind;
use crate::diffusion::SigmaSpacing;
use crate::{Error, Result};

/// Whose results to repeat where ours differ on purpose; docs/samplers.md lists where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// diffusers, its slips included.
    Diffusers,
}

impl Compat {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diffusers => "diffusers",
        }
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "diffusers" => Ok(Self::Diffusers),
            other => Err(Error::argument("compat", "diffusers", format!("`{other}`"))),
        }
    }
}

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
}

impl SamplerSettings {
    /// η = 0, the model's own noise levels.
    pub fn new(kind: SamplerKind, steps: usize) -> Self {
        Self { kind, steps, eta: 0.0, schedule: None, compat: None }
    }
}
