//! The table of the samplers.

use super::dpm2::Dpm2;
use super::dpmpp_2m::DpmPp2M;
use super::dpmpp_2s::DpmPp2S;
use super::dpmpp_3m::DpmPp3M;
use super::euler::Euler;
use super::euler_ancestral::EulerAncestral;
use super::flow::FlowMethod;
use super::grid::{self, GridOf};
use super::heun::Heun;
use super::lms::Lms;
use super::solver::Solver;
use super::unipc::UniPc;
use super::{Compat, SamplerSettings};
use crate::Result;
use crate::diffusion::{SchedulerClass, SchedulerConfig};
use crate::named::{named_enum, serde_by_name};
use Family::{Flow, Pndm, Sigma, Vp};

/// Makes [`SamplerKind`] of rows: variant, name, label, class of diffusers, family.
macro_rules! table {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $label:literal, $class:ident, $family:expr;)+) => {
        named_enum! {
            /// The samplers. [`SamplerKind::ALL`] is the one list that help and errors are made from.
            pub enum SamplerKind: "sampler" {
                $($(#[$doc])* $kind = $name),+
            }
        }

        impl SamplerKind {
            fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row { label: $label, class: SchedulerClass::$class, family: $family }),+
                }
            }
        }
    };
}

// Labels are stable-diffusion-webui's. Where it has no such method the label is that of its fork SD.Next (`DDPM`, the
// two flows), or says what the method is: webui's `DPM++ 2S a` adds noise in each step, our `dpm++2s` adds none. `PLMS`
// is `pndm` without Runge-Kutta steps, as Stable Diffusion configures it.
table! {
    /// Ancestral sampling: [`super::ddpm`].
    Ddpm = "ddpm", "DDPM", Ddpm, Vp;
    /// Implicit, deterministic unless η > 0: [`super::ddim`].
    Ddim = "ddim", "DDIM", Ddim, Vp;
    /// [`super::euler`].
    Euler = "euler", "Euler", EulerDiscrete, Sigma(grid::euler, plain::<Euler>);
    /// [`super::euler_ancestral`].
    EulerAncestral = "euler-a", "Euler a", EulerAncestralDiscrete,
        Sigma(grid::euler, |_, _| boxed(EulerAncestral { eta: 1.0 }));
    /// [`super::heun`].
    Heun = "heun", "Heun", HeunDiscrete, Sigma(grid::euler, plain::<Heun>);
    /// [`super::dpm2`].
    Dpm2 = "dpm2", "DPM2", KDpm2Discrete, Sigma(grid::euler, plain::<Dpm2>);
    /// [`super::dpmpp_2s`].
    DpmPp2S = "dpm++2s", "DPM++ 2S", DpmSolverSinglestep, Sigma(grid::dpm, plain::<DpmPp2S>);
    /// [`super::dpmpp_2m`].
    DpmPp2M = "dpm++2m", "DPM++ 2M", DpmSolverMultistep, Sigma(grid::dpm, plain::<DpmPp2M>);
    /// [`super::dpmpp_2m`] with η = 1.
    DpmPp2MSde = "dpm++2m-sde", "DPM++ 2M SDE", DpmSolverMultistep,
        Sigma(grid::dpm, |_, _| boxed(DpmPp2M::new(1.0)));
    /// [`super::dpmpp_3m`] with η = 1.
    DpmPp3MSde = "dpm++3m-sde", "DPM++ 3M SDE", DpmSolverMultistep,
        Sigma(grid::dpm, |_, run| boxed(DpmPp3M::new(1.0, run.compat == Some(Compat::Diffusers))));
    /// [`super::unipc`], of order 2 unless the model's file says otherwise.
    UniPc = "unipc", "UniPC", UniPcMultistep, Sigma(grid::dpm, |model, _| boxed(UniPc::of_model(model)?));
    /// [`super::lms`].
    Lms = "lms", "LMS", LmsDiscrete, Sigma(grid::euler, plain::<Lms>);
    /// [`super::pndm`].
    Pndm = "pndm", "PLMS", Pndm, Pndm;
    /// [`super::lcm`].
    Lcm = "lcm", "LCM", Lcm, Vp;
    /// [`super::flow`] by Euler's method.
    FlowEuler = "flow-euler", "Euler FlowMatch", FlowMatchEulerDiscrete, Flow(FlowMethod::Euler);
    /// [`super::flow`] by Heun's method.
    FlowHeun = "flow-heun", "Heun FlowMatch", FlowMatchHeunDiscrete, Flow(FlowMethod::Heun);
}

serde_by_name!(SamplerKind);

/// What the table says of a sampler.
struct Row {
    label: &'static str,
    class: SchedulerClass,
    family: Family,
}

/// In which coordinates a sampler takes its steps, and how.
#[derive(Clone, Copy)]
pub(super) enum Family {
    /// The schedule's, one step after each prediction: [`super::vp`].
    Vp,
    /// The schedule's, over several predictions: [`super::pndm`].
    Pndm,
    /// σ, over noise levels of a grid: [`super::in_sigma`].
    Sigma(GridOf, SolverOf),
    /// The time of a flow: [`super::flow`].
    Flow(FlowMethod),
}

/// The solver of a model and a run, which has taken no step.
///
/// # Errors
/// `Error::Config` where the model's file asks for what the solver cannot do.
pub(super) type SolverOf = fn(&SchedulerConfig, &SamplerSettings) -> Result<Box<dyn Solver>>;

/// A solver about which nothing is to be decided.
fn plain<S: Solver + Default + 'static>(_: &SchedulerConfig, _: &SamplerSettings) -> Result<Box<dyn Solver>> {
    boxed(S::default())
}

fn boxed(solver: impl Solver + 'static) -> Result<Box<dyn Solver>> {
    Ok(Box::new(solver))
}

impl SamplerKind {
    /// The name in stable-diffusion-webui.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// The class of diffusers that takes such steps.
    pub fn class(self) -> SchedulerClass {
        self.row().class
    }

    pub(super) fn family(self) -> Family {
        self.row().family
    }

    /// Whether it is for models of flows, whose network predicts a velocity, and for no others.
    pub fn is_flow(self) -> bool {
        matches!(self.family(), Flow(_))
    }

    /// Whether it works in σ, so that its noise levels can be spaced freely.
    pub fn works_in_sigma(self) -> bool {
        matches!(self.family(), Sigma(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampler_has_a_label_of_its_own() {
        let mut labels = SamplerKind::ALL.map(SamplerKind::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), SamplerKind::ALL.len());
    }
}
