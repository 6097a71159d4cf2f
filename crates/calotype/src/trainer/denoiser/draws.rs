//! The random numbers of a denoiser's training, by position in the run.

use crate::diffusion::flow::{logit_normal, shift};
use crate::rng::{Philox, Purpose};
use crate::trainer::recipe::FlowTimes;

/// What is drawn for the sample at a position. A pure function of it: who recorded another program's numbers can
/// train with them.
pub trait Draws: Send + Sync {
    /// ε of the posterior, `numbers` standard normals.
    fn posterior(&self, position: u64, numbers: usize) -> Vec<f32>;
    /// A timestep in `0..timesteps`, and the noise ε that is added: `numbers` standard normals.
    fn noise(&self, position: u64, timesteps: usize, numbers: usize) -> (usize, Vec<f32>);
    /// One standard normal for each channel.
    fn offset(&self, position: u64, channels: usize) -> Vec<f32>;
    /// A time in [0, 1].
    fn flow_time(&self, position: u64) -> f64;
}

/// Philox, as everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Seeded {
    /// The run's seed.
    pub seed: u64,
    /// How the times of a flow are spread.
    pub flow_times: FlowTimes,
    /// How they are shifted.
    pub shift: f64,
}

impl Draws for Seeded {
    fn posterior(&self, position: u64, numbers: usize) -> Vec<f32> {
        Philox::new(self.seed, Purpose::Posterior, position).normals(numbers)
    }

    fn noise(&self, position: u64, timesteps: usize, numbers: usize) -> (usize, Vec<f32>) {
        let mut rng = Philox::new(self.seed, Purpose::TrainingNoise, position);
        (rng.below(timesteps), rng.normals(numbers))
    }

    fn offset(&self, position: u64, channels: usize) -> Vec<f32> {
        Philox::new(self.seed, Purpose::OffsetNoise, position).normals(channels)
    }

    fn flow_time(&self, position: u64) -> f64 {
        let z = f64::from(Philox::new(self.seed, Purpose::FlowTime, position).normals(1)[0]);
        let FlowTimes { mean, std, .. } = self.flow_times;
        shift(logit_normal(z, mean, std), self.shift)
    }
}
