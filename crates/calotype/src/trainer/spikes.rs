//! Finds steps whose loss stands out.

use serde::{Deserialize, Serialize};

/// How much of the past counts: about the last 100 steps.
const DECAY: f64 = 0.99;
/// Losses seen before any of them can stand out.
const FIRST: u64 = 50;
/// Standard deviations above the mean that stand out.
const SIGMAS: f64 = 6.0;

/// Running mean and variance of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spikes {
    seen: u64,
    mean: f64,
    variance: f64,
}

/// A loss that stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// The loss.
    pub loss: f64,
    /// Mean of those before it.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
}

impl Spikes {
    /// Running mean of the losses.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Whether `loss` lies more than six standard deviations above the mean of those before it. It then counts
    /// as the highest loss that would not have: one spike does not hide the next.
    pub fn see(&mut self, loss: f64) -> Option<Spike> {
        let std = self.variance.sqrt();
        // Rounding alone must not make a loss that hardly changes stand out.
        let limit = self.mean + SIGMAS * std.max(1e-3 * self.mean.abs());
        let spike = (self.seen >= FIRST && loss > limit).then_some(Spike { loss, mean: self.mean, std });
        let loss = if spike.is_some() { limit } else { loss };
        self.seen += 1;
        // The first ones count alike; Welford's recurrence with a weight that does not fall below 1 − DECAY.
        let weight = (1.0 / self.seen as f64).max(1.0 - DECAY);
        let difference = loss - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        spike
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn finds_the_planted_spike_and_no_other() {
        let noise = Philox::new(0, Purpose::Evaluation, 0).normals(2000);
        let mut spikes = Spikes::default();
        let found: Vec<usize> = (0..2000)
            .filter(|&step| {
                let falling = 0.2 + (-(step as f64) / 300.0).exp();
                let loss = falling + 0.02 * f64::from(noise[step]) + if step == 700 { 1.0 } else { 0.0 };
                spikes.see(loss).is_some()
            })
            .collect();
        assert_eq!(found, [700]);
    }

    #[test]
    fn the_state_survives_json() {
        let mut spikes = Spikes::default();
        for i in 0..100 {
            spikes.see(f64::from(i).sin());
        }
        let text = serde_json::to_string(&spikes).unwrap();
        assert_eq!(serde_json::from_str::<Spikes>(&text).unwrap(), spikes);
    }
}
