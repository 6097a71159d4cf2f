//! The learning rate over the steps.

use serde::{Deserialize, Serialize};

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Stays.
    Constant,
    /// Falls to zero at the last step along half a cosine. Loshchilov & Hutter 2017,
    /// arXiv:1608.03983, Eq. 5.
    Cosine,
}

impl LrSchedule {
    /// Learning rate of `step` (from 0) of `steps`: linear from 0 over the first `warm_up` steps to
    /// `peak`, then as the schedule says.
    pub fn at(self, step: usize, steps: usize, warm_up: usize, peak: f64) -> f64 {
        if step < warm_up {
            return peak * (step + 1) as f64 / warm_up as f64;
        }
        match self {
            LrSchedule::Constant => peak,
            LrSchedule::Cosine => {
                let progress = (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
                peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LrSchedule::{Constant, Cosine};

    #[test]
    fn warms_up_and_falls() {
        let at = |step| Cosine.at(step, 110, 10, 1.0);
        assert_eq!(at(0), 0.1);
        assert_eq!(at(9), 1.0);
        assert_eq!(at(10), 1.0);
        assert!((at(60) - 0.5).abs() < 1e-12);
        assert!(at(109) < 3e-4);
        assert_eq!(Constant.at(109, 110, 10, 2.0), 2.0);
    }
}
