//! The random numbers of a denoiser's training, by position in the run.

use crate::diffusion::flow::{logit_normal, shift};
use crate::rng::{Philox, Purpose};
use crate::trainer::recipe::{EdmRecipe, FlowTimes};

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
    /// A noise level σ above 0.
    fn sigma(&self, position: u64) -> f64;
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
    /// How the noise levels of an EDM are spread.
    pub levels: NoiseLevels,
}

/// ln σ ~ N(mean, std²).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevels {
    /// Mean of ln σ.
    pub mean: f64,
    /// Standard deviation of ln σ.
    pub std: f64,
}

impl NoiseLevels {
    /// Those of a recipe for data of standard deviation `sigma_data`. Without a mean of its own they lie to the data as
    /// in Karras et al. 2022, Table 1, where it is −1.2 for σ_d = 0.5.
    pub fn new(recipe: EdmRecipe, sigma_data: f64) -> Self {
        Self { mean: recipe.mean.unwrap_or(-1.2 + (sigma_data / 0.5).ln()), std: recipe.std }
    }
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

    fn sigma(&self, position: u64) -> f64 {
        let z = f64::from(Philox::new(self.seed, Purpose::EdmSigma, position).normals(1)[0]);
        (self.levels.mean + self.levels.std * z).exp()
    }
}

/// Whether the sample at a position sees the empty caption in place of its own: what makes classifier-free guidance
/// possible. Ho & Salimans 2022, arXiv:2207.12598, algorithm 1 (their p_uncond).
pub fn drops_caption(seed: u64, position: u64, probability: f64) -> bool {
    Philox::new(seed, Purpose::CaptionDropout, position).uniform() < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_asked_share() {
        let n = 20_000;
        let dropped = (0..n).filter(|&i| drops_caption(3, i, 0.1)).count() as f64 / n as f64;
        assert!((dropped - 0.1).abs() < 0.0085, "{dropped}"); // four standard errors
        assert!((0..1000).all(|i| !drops_caption(3, i, 0.0)));
        assert!((0..1000).all(|i| drops_caption(3, i, 1.0)));
    }
}
