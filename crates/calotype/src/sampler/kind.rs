//! The names of the samplers.

use serde::{Deserialize, Serialize};

use crate::named::named_enum;
use crate::{Error, Result};

named_enum! {
    /// The samplers. [`SamplerKind::ALL`] is the one list that help and errors are made from.
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    pub enum SamplerKind: "sampler" {
        /// Ancestral sampling: [`super::ddpm`].
        Ddpm = "ddpm",
        /// Implicit, deterministic unless η > 0: [`super::ddim`].
        Ddim = "ddim",
        /// [`super::euler`].
        Euler = "euler",
        /// [`super::euler_ancestral`].
        EulerAncestral = "euler-a",
        /// [`super::heun`].
        Heun = "heun",
        /// [`super::dpm2`].
        Dpm2 = "dpm2",
        /// [`super::dpmpp_2s`].
        DpmPp2S = "dpm++2s",
        /// [`super::dpmpp_2m`].
        DpmPp2M = "dpm++2m",
        /// [`super::dpmpp_2m`] with η = 1.
        DpmPp2MSde = "dpm++2m-sde",
        /// [`super::dpmpp_3m`] with η = 1.
        DpmPp3MSde = "dpm++3m-sde",
        /// [`super::unipc`], of order 2 unless the model's file says otherwise.
        UniPc = "unipc",
        /// [`super::lms`].
        Lms = "lms",
        /// [`super::pndm`].
        Pndm = "pndm",
        /// [`super::lcm`].
        Lcm = "lcm",
        /// [`super::flow`] by Euler's method.
        FlowEuler = "flow-euler",
        /// [`super::flow`] by Heun's method.
        FlowHeun = "flow-heun",
    }
}

impl SamplerKind {
    /// Whether it is for models of flows, whose network predicts a velocity, and for no others.
    pub fn is_flow(self) -> bool {
        matches!(self, Self::FlowEuler | Self::FlowHeun)
    }

    /// Whether it works in σ, so that its noise levels can be spaced freely.
    pub fn works_in_sigma(self) -> bool {
        !self.is_flow() && !matches!(self, Self::Ddpm | Self::Ddim | Self::Pndm | Self::Lcm)
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
