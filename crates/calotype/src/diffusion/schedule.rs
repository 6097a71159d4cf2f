//! The noise schedule: β_t, ᾱ_t and what follows from them.
//!
//! Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, section 2.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Longest schedule accepted; a table beyond it comes from a broken config, not from a model.
const MAX_TIMESTEPS: usize = 1_000_000;

/// How β grows over the timesteps. Serde names are those of diffusers' `beta_schedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β evenly spaced (Ho et al. 2020, section 4).
    Linear,
    /// √β evenly spaced (latent diffusion, Rombach et al. 2022, arXiv:2112.10752).
    ScaledLinear,
}

/// The tables β_t and ᾱ_t = ∏_{i≤t} (1 − β_i) for t = 0 … T−1, in `f64`: in `f32` the product
/// drifts by 3·10⁻⁵.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    betas: Vec<f64>,
    alpha_bars: Vec<f64>,
}

impl NoiseSchedule {
    /// T = `num_timesteps` values of β from `beta_start` (t = 0) to `beta_end` (t = T−1).
    ///
    /// # Errors
    /// `Error::Argument` unless 1 ≤ T ≤ 10⁶ and every β lies in (0, 1).
    pub fn new(kind: BetaSchedule, beta_start: f64, beta_end: f64, num_timesteps: usize) -> Result<Self> {
        if !(1..=MAX_TIMESTEPS).contains(&num_timesteps) {
            return Err(Error::argument(
                "num_train_timesteps",
                format!("1 to {MAX_TIMESTEPS}"),
                num_timesteps,
            ));
        }
        // Both kinds are monotonic between the ends, so the ends decide for every β.
        for (name, beta) in [("beta_start", beta_start), ("beta_end", beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(Error::argument(name, "a number strictly between 0 and 1", beta));
            }
        }
        let betas: Vec<f64> = match kind {
            BetaSchedule::Linear => linspace(beta_start, beta_end, num_timesteps),
            BetaSchedule::ScaledLinear => linspace(beta_start.sqrt(), beta_end.sqrt(), num_timesteps)
                .iter()
                .map(|root| root * root)
                .collect(),
        };
        let alpha_bars = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        Ok(Self { betas, alpha_bars })
    }

    /// [`BetaSchedule::Linear`]; arguments and errors as [`NoiseSchedule::new`].
    pub fn linear(beta_start: f64, beta_end: f64, num_timesteps: usize) -> Result<Self> {
        Self::new(BetaSchedule::Linear, beta_start, beta_end, num_timesteps)
    }

    /// [`BetaSchedule::ScaledLinear`]; arguments and errors as [`NoiseSchedule::new`].
    pub fn scaled_linear(beta_start: f64, beta_end: f64, num_timesteps: usize) -> Result<Self> {
        Self::new(BetaSchedule::ScaledLinear, beta_start, beta_end, num_timesteps)
    }

    /// T, the number of timesteps.
    pub fn num_timesteps(&self) -> usize {
        self.betas.len()
    }

    /// ᾱ_0 … ᾱ_{T−1}, falling.
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// β_t, the variance added from t−1 to t.
    ///
    /// # Errors
    /// `Error::Argument` if `t` ≥ T; the same for every function of `t` below.
    pub fn beta(&self, t: usize) -> Result<f64> {
        self.at(&self.betas, t)
    }

    /// ᾱ_t, the share of variance that is still signal.
    pub fn alpha_bar(&self, t: usize) -> Result<f64> {
        self.at(&self.alpha_bars, t)
    }

    /// σ_t = √((1−ᾱ_t)/ᾱ_t), the noise level once the signal has unit scale (Karras et al. 2022,
    /// arXiv:2206.00364).
    pub fn sigma(&self, t: usize) -> Result<f64> {
        let alpha_bar = self.alpha_bar(t)?;
        Ok(((1.0 - alpha_bar) / alpha_bar).sqrt())
    }

    /// SNR(t) = ᾱ_t/(1−ᾱ_t) (Kingma et al. 2021, arXiv:2107.00630, Eq. 2).
    pub fn snr(&self, t: usize) -> Result<f64> {
        let alpha_bar = self.alpha_bar(t)?;
        Ok(alpha_bar / (1.0 - alpha_bar))
    }

    fn at(&self, table: &[f64], t: usize) -> Result<f64> {
        table
            .get(t)
            .copied()
            .ok_or_else(|| Error::argument("timestep", format!("0 to {}", self.num_timesteps() - 1), t))
    }
}

/// `n` points from `start` to `end`, both included; one point is `start`.
///
/// The quotient is formed first and the last point is `end` itself, as numpy does: an exact half
/// such as 499.5 can come out just below it, and the rounding of timesteps depends on this.
pub(crate) fn linspace(start: f64, end: f64, n: usize) -> Vec<f64> {
    if n == 1 {
        return vec![start];
    }
    let step = (end - start) / (n as f64 - 1.0);
    (0..n).map(|i| if i + 1 == n { end } else { start + i as f64 * step }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::golden::{self, Case};

    fn table(case: &Case, value: impl Fn(&NoiseSchedule, usize) -> Result<f64>) -> Result<Vec<f64>> {
        let schedule = golden::schedule(case)?;
        case.integers("t").into_iter().map(|t| value(&schedule, t)).collect()
    }

    #[test]
    fn golden_alpha_bar() {
        let mut compared = 0;
        for case in golden::cases(golden::SCHEDULES, "alpha_bar") {
            let spec = &case.inputs["schedule"];
            if spec["schedule"] == "cosine" || spec["zero_terminal_snr"] == true {
                continue; // schedules that BetaSchedule does not have
            }
            compared += 1;
            if case.expects_error() {
                assert!(table(&case, NoiseSchedule::beta).is_err(), "{}", case.id);
                continue;
            }
            case.check("beta", &table(&case, NoiseSchedule::beta).unwrap());
            case.check("alpha_bar", &table(&case, NoiseSchedule::alpha_bar).unwrap());
            case.check("sigma", &table(&case, NoiseSchedule::sigma).unwrap());
            case.check("log_snr", &table(&case, |s, t| Ok(s.snr(t)?.ln())).unwrap());
            let sum = golden::schedule(&case).unwrap().alpha_bars().iter().sum();
            case.check("sum_alpha_bar", &[sum]);
        }
        assert_eq!(compared, 5);
    }

    #[test]
    fn the_ends_of_a_schedule() {
        let one = NoiseSchedule::linear(0.1, 0.2, 1).unwrap();
        assert_eq!((one.num_timesteps(), one.beta(0).unwrap()), (1, 0.1));
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        assert!(schedule.alpha_bar(999).is_ok() && schedule.alpha_bar(1000).is_err());
        let (sigma, snr) = (schedule.sigma(321).unwrap(), schedule.snr(321).unwrap());
        assert!((sigma * sigma * snr - 1.0).abs() < 1e-14);
    }

    #[test]
    fn refuses_impossible_schedules() {
        for (start, end, n) in [
            (0.0, 0.1, 10),
            (0.1, 1.0, 10),
            (-0.1, 0.1, 10),
            (f64::NAN, 0.1, 10),
            (0.1, 0.2, 0),
            (0.1, 0.2, usize::MAX),
        ] {
            for kind in [BetaSchedule::Linear, BetaSchedule::ScaledLinear] {
                assert!(NoiseSchedule::new(kind, start, end, n).is_err(), "{kind:?} {start} {end} {n}");
            }
        }
    }
}
