//! The names of the samplers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::vp::VpMethod;
use crate::diffusion::{SchedulerClass, SchedulerConfig};
use crate::{Error, Result};

/// The samplers. [`SamplerKind::ALL`] is the one list that help and errors are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SamplerKind {
    /// Ancestral sampling: [`super::ddpm`].
    Ddpm,
    /// Implicit, deterministic unless η > 0: [`super::ddim`].
    Ddim,
    /// [`super::euler`].
    Euler,
    /// [`super::euler_ancestral`].
    EulerAncestral,
    /// [`super::heun`].
    Heun,
    /// [`super::dpm2`].
    Dpm2,
    /// [`super::dpmpp_2s`].
    DpmPp2S,
    /// [`super::dpmpp_2m`].
    DpmPp2M,
    /// [`super::dpmpp_2m`] with η = 1.
    DpmPp2MSde,
    /// [`super::unipc`] of order 2.
    UniPc,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 10] = [
        Self::Ddpm,
        Self::Ddim,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::Dpm2,
        Self::DpmPp2S,
        Self::DpmPp2M,
        Self::DpmPp2MSde,
        Self::UniPc,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-a",
            Self::Heun => "heun",
            Self::Dpm2 => "dpm2",
            Self::DpmPp2S => "dpm++2s",
            Self::DpmPp2M => "dpm++2m",
            Self::DpmPp2MSde => "dpm++2m-sde",
            Self::UniPc => "unipc",
        }
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The sampler that a model's folder asks for.
    ///
    /// # Errors
    /// `Error::Argument` for a class of diffusers without a counterpart here; naming a sampler
    /// gets around it.
    pub fn from_config(config: &SchedulerConfig) -> Result<Self> {
        match config.class_name {
            SchedulerClass::Ddim => Ok(Self::Ddim),
            SchedulerClass::Ddpm => Ok(Self::Ddpm),
            // The other classes have options of their own that change the result (Karras' levels, order,
            // end), which the configuration does not keep: not to be guessed.
            other => Err(Error::argument(
                "sampler",
                format!("one of {} by name (the model's own scheduler is not understood)", Self::names()),
                format!("{other:?} from scheduler_config.json"),
            )),
        }
    }

    /// The formula, for the samplers that work in the coordinates of the schedule.
    pub(super) fn vp(self) -> Option<VpMethod> {
        match self {
            Self::Ddpm => Some(VpMethod::Ddpm),
            Self::Ddim => Some(VpMethod::Ddim),
            _ => None,
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            Error::argument("sampler", format!("one of {}", Self::names()), format!("`{text}`"))
        })
    }
}

impl TryFrom<String> for SamplerKind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SamplerKind> for String {
    fn from(kind: SamplerKind) -> Self {
        kind.name().to_owned()
    }
}
