//! Whole runs against the denoiser of Gaussian data, which is known in closed form.

mod agreement;
mod edm;
mod gaussian;
mod grids;
mod moments;
mod orders;
mod refusals;

use burn::tensor::Device;

use super::*;
use crate::diffusion::{NoiseSchedule, PredictionType, Rates, SchedulerClass, TimestepSpacing};
use crate::testing::{samples as tensor, values};
use gaussian::{Gaussian, network, velocity};

/// The sampler's own steps for a Gaussian, with prescribed noise.
fn run(sampler: &VpSampler, model: Gaussian, start: Tensor<4>, noise: &mut dyn Noise) -> Result<Tensor<4>> {
    let alpha_bar = |t: usize| sampler.transitions.iter().find(|tr| tr.t == t).unwrap().alpha_bar_t;
    let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| Ok(model.eps(x, alpha_bar(t as usize)));
    sampler.sample(start, noise, &mut denoise, &mut |_, _| ())
}

fn vp(kind: SamplerKind, config: &SchedulerConfig, steps: usize) -> VpSampler {
    VpSampler::new(config, &SamplerSettings::new(kind, steps)).unwrap()
}

fn config(spacing: TimestepSpacing) -> SchedulerConfig {
    SchedulerConfig { timestep_spacing: spacing, steps_offset: 0, ..SchedulerConfig::default() }
}

/// The unit noise that pictures start from.
fn starts(seed: u64, indices: &[u64], shape: [usize; 3], device: &Device) -> Tensor<4> {
    NoiseSource::new(Generator::Philox, seed, indices).initial(shape, device).unwrap()
}
