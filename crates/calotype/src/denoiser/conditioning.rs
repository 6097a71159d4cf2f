//! Caption dropout: what makes classifier-free guidance possible.

use crate::rng::{Philox, Purpose};

/// Whether training sample `position` of the run sees the empty caption instead of its own. Ho &
/// Salimans 2022, arXiv:2207.12598, algorithm 1 (their p_uncond).
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
