//! The names of the samplers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::by_name;
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
    /// [`super::dpmpp_3m`] with η = 1.
    DpmPp3MSde,
    /// [`super::unipc`], of order 2 unless the model's file says otherwise.
    UniPc,
    /// [`super::lms`].
    Lms,
    /// [`super::pndm`].
    Pndm,
    /// [`super::lcm`].
    Lcm,
    /// [`super::flow`] by Euler's method.
    FlowEuler,
    /// [`super::flow`] by Heun's method.
    FlowHeun,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 16] = [
        Self::Ddpm,
        Self::Ddim,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::Dpm2,
        Self::DpmPp2S,
        Self::DpmPp2M,
        Self::DpmPp2MSde,
        Self::DpmPp3MSde,
        Self::UniPc,
        Self::Lms,
        Self::Pndm,
        Self::Lcm,
        Self::FlowEuler,
        Self::FlowHeun,
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
            Self::DpmPp3MSde => "dpm++3m-sde",
            Self::UniPc => "unipc",
            Self::Lms => "lms",
            Self::Pndm => "pndm",
            Self::Lcm => "lcm",
            Self::FlowEuler => "flow-euler",
            Self::FlowHeun => "flow-heun",
        }
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Whether it is for models of flows, whose network predicts a velocity, and for no others.
    pub fn is_flow(self) -> bool {
        matches!(self, Self::FlowEuler | Self::FlowHeun)
    }

    /// Whether it works in σ, so that its noise levels can be spaced freely.
    pub fn works_in_sigma(self) -> bool {
        !self.is_flow() && !matches!(self, Self::Ddpm | Self::Ddim | Self::Pndm | Self::Lcm)
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
        by_name("sampler", &Self::ALL, text)
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
