//! The schedulers of diffusers that a model's folder may name.

use serde::{Deserialize, Serialize};

use super::{BetaSchedule, PredictionType, SchedulerConfig, TimestepSpacing};

/// The classes whose `scheduler_config.json` is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SchedulerClass {
    /// Denoising diffusion implicit models.
    #[default]
    #[serde(rename = "DDIMScheduler")]
    Ddim,
    /// Denoising diffusion probabilistic models.
    #[serde(rename = "DDPMScheduler")]
    Ddpm,
    /// Pseudo numerical methods; Stable Diffusion 1's folder.
    #[serde(rename = "PNDMScheduler")]
    Pndm,
    /// Linear multistep.
    #[serde(rename = "LMSDiscreteScheduler")]
    LmsDiscrete,
    /// Euler's method; Stable Diffusion XL's folder.
    #[serde(rename = "EulerDiscreteScheduler")]
    EulerDiscrete,
    /// Euler's method with fresh noise.
    #[serde(rename = "EulerAncestralDiscreteScheduler")]
    EulerAncestralDiscrete,
    /// Heun's method.
    #[serde(rename = "HeunDiscreteScheduler")]
    HeunDiscrete,
    /// DPM-Solver-2.
    #[serde(rename = "KDPM2DiscreteScheduler")]
    KDpm2Discrete,
    /// DPM-Solver++, multistep.
    #[serde(rename = "DPMSolverMultistepScheduler")]
    DpmSolverMultistep,
    /// DPM-Solver++, single step.
    #[serde(rename = "DPMSolverSinglestepScheduler")]
    DpmSolverSinglestep,
    /// Unified predictor-corrector.
    #[serde(rename = "UniPCMultistepScheduler")]
    UniPcMultistep,
    /// Latent consistency models.
    #[serde(rename = "LCMScheduler")]
    Lcm,
    /// Flow matching by Euler's method; Stable Diffusion 3's and Flux's folder.
    #[serde(rename = "FlowMatchEulerDiscreteScheduler")]
    FlowMatchEulerDiscrete,
    /// Flow matching by Heun's method.
    #[serde(rename = "FlowMatchHeunDiscreteScheduler")]
    FlowMatchHeunDiscrete,
    /// EDM by Euler's method.
    #[serde(rename = "EDMEulerScheduler")]
    EdmEuler,
    /// EDM by DPM-Solver++, multistep; Playground 2.5's folder.
    #[serde(rename = "EDMDPMSolverMultistepScheduler")]
    EdmDpmSolverMultistep,
    /// Any other: the model can be sampled by naming a sampler.
    #[serde(other)]
    Other,
}

impl SchedulerClass {
    /// Whether the model is a flow: x_t = (1−t)·x₀ + t·ε, and a network that predicts the velocity.
    pub fn is_flow(self) -> bool {
        matches!(self, Self::FlowMatchEulerDiscrete | Self::FlowMatchHeunDiscrete)
    }

    /// Whether the network is preconditioned as EDM's: [`super::edm`].
    pub fn is_edm(self) -> bool {
        matches!(self, Self::EdmEuler | Self::EdmDpmSolverMultistep)
    }

    /// What the class's constructor in diffusers assumes for a key that a file lacks; they differ.
    pub fn constructor_defaults(self) -> SchedulerConfig {
        let base = SchedulerConfig {
            class_name: self,
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Linspace,
            steps_offset: 0,
            set_alpha_to_one: true,
            clip_sample: false,
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            variance_type: None,
            given: None,
            options: Default::default(),
        };
        let leading = SchedulerConfig { timestep_spacing: TimestepSpacing::Leading, ..base.clone() };
        let stable =
            |config: SchedulerConfig| SchedulerConfig { beta_start: 0.00085, beta_end: 0.012, ..config };
        match self {
            Self::Ddim | Self::Ddpm => SchedulerConfig { clip_sample: true, ..leading },
            Self::Pndm => SchedulerConfig { set_alpha_to_one: false, ..leading },
            Self::Lcm => stable(SchedulerConfig { beta_schedule: BetaSchedule::ScaledLinear, ..leading }),
            Self::HeunDiscrete | Self::KDpm2Discrete => stable(base),
            Self::FlowMatchEulerDiscrete | Self::FlowMatchHeunDiscrete => {
                SchedulerConfig { prediction_type: PredictionType::Flow, ..base }
            }
            Self::LmsDiscrete
            | Self::EulerDiscrete
            | Self::EulerAncestralDiscrete
            | Self::DpmSolverMultistep
            | Self::DpmSolverSinglestep
            | Self::UniPcMultistep
            | Self::EdmEuler
            | Self::EdmDpmSolverMultistep
            | Self::Other => base,
        }
    }
}
