//! The learning rate over the steps.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Stays.
    Constant,
    /// Falls to zero along a line.
    Linear,
    /// Falls to zero at the last step along half a cosine. Loshchilov & Hutter 2017,
    /// arXiv:1608.03983, Eq. 5.
    Cosine,
    /// Rises from peak/25 along half a cosine in the warm-up, and falls along another to peak/250 000 at the
    /// last step. Smith & Topin 2018, arXiv:1708.07120, as PyTorch's `OneCycleLR` has it, without its cycle
    /// of the momentum.
    OneCycle,
    /// Falls as 1/√step. Vaswani et al. 2017, arXiv:1706.03762, section 5.3.
    InverseSqrt,
}

/// Peak over first rate of [`LrSchedule::OneCycle`].
const DIV_FACTOR: f64 = 25.0;
/// First over last rate of [`LrSchedule::OneCycle`].
const FINAL_DIV_FACTOR: f64 = 1e4;

impl LrSchedule {
    /// Learning rate of `step` (from 0) of `steps`: linear from 0 over the first `warm_up` steps to
    /// `peak`, then as the schedule says. [`LrSchedule::OneCycle`] has its own way up.
    pub fn at(self, step: usize, steps: usize, warm_up: usize, peak: f64) -> f64 {
        if self == LrSchedule::OneCycle {
            return one_cycle(step, steps, warm_up, peak);
        }
        if step < warm_up {
            return peak * (step + 1) as f64 / warm_up as f64;
        }
        let progress = || (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
        match self {
            LrSchedule::Constant | LrSchedule::OneCycle => peak,
            LrSchedule::Linear => peak * (1.0 - progress()).max(0.0),
            LrSchedule::Cosine => peak * 0.5 * (1.0 + (PI * progress()).cos()),
            LrSchedule::InverseSqrt => {
                let from = warm_up.max(1) as f64;
                peak * (from / from.max(step as f64)).sqrt()
            }
        }
    }
}

/// PyTorch's `OneCycleLR` with `pct_start` = `warm_up`/`steps`: the peak is at step `warm_up` − 1, the lowest
/// rate at the last step.
fn one_cycle(step: usize, steps: usize, warm_up: usize, peak: f64) -> f64 {
    let first = peak / DIV_FACTOR;
    let along_cosine = |from: f64, to: f64, part: f64| to + (from - to) / 2.0 * (1.0 + (PI * part).cos());
    let (last, top) = (steps as f64 - 1.0, warm_up as f64 - 1.0);
    let step = step as f64;
    if step < top {
        along_cosine(first, peak, step / top)
    } else if step <= top {
        peak
    } else {
        along_cosine(peak, first / FINAL_DIV_FACTOR, ((step - top) / (last - top)).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::LrSchedule::{self, Constant, Cosine, InverseSqrt, Linear, OneCycle};

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

    #[test]
    fn every_step_has_pytorchs_rate() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizers.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let cases = golden["lr_schedules"].as_array().unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let schedule: LrSchedule = serde_json::from_value(case["schedule"].clone()).unwrap();
            let rates: Vec<f64> = serde_json::from_value(case["rates"].clone()).unwrap();
            let warm_up = case["warm_up"].as_u64().unwrap() as usize;
            // The others' way up is theirs by one step, see `at`.
            let first = if schedule == OneCycle { 0 } else { warm_up };
            for (step, expected) in rates.iter().enumerate().skip(first) {
                let found = schedule.at(step, rates.len(), warm_up, 0.3);
                assert!((found - expected).abs() <= 1e-12 * 0.3, "{case} {step}: {found}");
            }
        }
    }

    #[test]
    fn no_number_of_steps_gives_nonsense() {
        for schedule in [Constant, Linear, Cosine, OneCycle, InverseSqrt] {
            for (steps, warm_up) in [(1, 0), (1, 1), (2, 1), (3, 3), (3, 10), (10, 0)] {
                for step in 0..steps {
                    let rate = schedule.at(step, steps, warm_up, 1.0);
                    assert!((0.0..=1.0).contains(&rate), "{schedule:?} {step} {steps} {warm_up}: {rate}");
                }
            }
        }
    }
}
