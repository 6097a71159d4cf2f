//! The noise schedule: β_t, ᾱ_t and what follows from them.
//!
//! Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, section 2.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Longest schedule accepted; a table beyond it comes from a broken config, not from a model.
const MAX_TIMESTEPS: usize = 1_000_000;

/// 2⁻²⁴, in place of ᾱ = 0 where σ must be finite: diffusers starts there too in σ.
const FINITE_ALPHA_BAR: f64 = 1.0 / (1 << 24) as f64;

/// How β grows over the timesteps. Serde names are those of diffusers' `beta_schedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β evenly spaced (Ho et al. 2020, section 4).
    Linear,
    /// √β evenly spaced (latent diffusion, Rombach et al. 2022, arXiv:2112.10752).
    ScaledLinear,
    /// ᾱ along a squared cosine ([`NoiseSchedule::cosine`] with s = 0.008 and β ≤ 0.999); `beta_start`
    /// and `beta_end` have no part in it.
    #[serde(rename = "squaredcos_cap_v2")]
    Cosine,
    /// β along a logistic curve from −6 to 6 (GeoDiff, Xu et al. 2022, arXiv:2203.02923).
    Sigmoid,
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
        require_num_timesteps(num_timesteps)?;
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
            BetaSchedule::Cosine => return Self::cosine(0.008, 0.999, num_timesteps),
            BetaSchedule::Sigmoid => linspace(-6.0, 6.0, num_timesteps)
                .iter()
                .map(|x| beta_start + (beta_end - beta_start) / (1.0 + (-x).exp()))
                .collect(),
        };
        Self::from_betas(betas)
    }

    /// From a table of β_0 … β_{T−1}.
    ///
    /// # Errors
    /// `Error::Argument` unless 1 ≤ T ≤ 10⁶ and every β lies in (0, 1).
    pub fn from_betas(betas: Vec<f64>) -> Result<Self> {
        require_num_timesteps(betas.len())?;
        if let Some(beta) = betas.iter().find(|beta| !(**beta > 0.0 && **beta < 1.0)) {
            return Err(Error::argument("beta", "a number strictly between 0 and 1", beta));
        }
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

    /// ᾱ along f(u) = cos²((u + s)/(1 + s)·π/2): β_t = min(1 − f((t+1)/T)/f(t/T), `max_beta`).
    ///
    /// Nichol & Dhariwal 2021, arXiv:2102.09672, Eq. 17, with s = 0.008 and β ≤ 0.999.
    ///
    /// # Errors
    /// As [`NoiseSchedule::from_betas`].
    pub fn cosine(s: f64, max_beta: f64, num_timesteps: usize) -> Result<Self> {
        require_num_timesteps(num_timesteps)?;
        let f = |t: usize| {
            let u = t as f64 / num_timesteps as f64;
            ((u + s) / (1.0 + s) * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        Self::from_betas((0..num_timesteps).map(|t| (1.0 - f(t + 1) / f(t)).min(max_beta)).collect())
    }

    /// The same, stretched so that nothing of the signal is left at T−1: √ᾱ is shifted and scaled to
    /// keep ᾱ_0 and to end at exactly 0.
    ///
    /// Lin et al. 2023, arXiv:2305.08891, Algorithm 1. A network that predicts ε cannot start there.
    ///
    /// # Errors
    /// `Error::Argument` for a schedule of one timestep.
    pub fn with_zero_terminal_snr(self) -> Result<Self> {
        let roots: Vec<f64> = self.alpha_bars.iter().map(|alpha_bar| alpha_bar.sqrt()).collect();
        let [first, .., last] = roots[..] else {
            return Err(Error::argument("num_train_timesteps", "at least 2, to rescale", roots.len()));
        };
        if first <= last {
            let expected = "betas that add noise: without any there is nothing to rescale to zero SNR";
            return Err(Error::argument("beta", expected, format!("alpha_bar from {first} to {last}")));
        }
        let rescaled = roots.iter().map(|root| ((root - last) * first / (first - last)).powi(2));
        let alpha_bars: Vec<f64> = rescaled.collect();
        let before = std::iter::once(&1.0).chain(&alpha_bars);
        let betas = alpha_bars.iter().zip(before).map(|(now, before)| 1.0 - now / before).collect();
        Ok(Self { betas, alpha_bars })
    }

    /// The same with ᾱ_{T−1} = 2⁻²⁴ where it is 0, so that σ is finite.
    pub fn with_finite_sigma(mut self) -> Self {
        if let Some(last) = self.alpha_bars.last_mut().filter(|last| **last == 0.0) {
            *last = FINITE_ALPHA_BAR;
        }
        self
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

    /// σ at a timestep with a fraction: linear between its neighbours.
    pub fn sigma_at(&self, t: f64) -> Result<f64> {
        let below = self.sigma(t.floor() as usize)?;
        if t.fract() == 0.0 {
            return Ok(below);
        }
        Ok(below + t.fract() * (self.sigma(t.floor() as usize + 1)? - below))
    }

    /// The timestep of a noise level, which may lie between two: linear in ln σ, never outside 0 to T−1. Where ᾱ = 0
    /// it is counted from the σ of [`NoiseSchedule::with_finite_sigma`].
    pub fn timestep_of(&self, sigma: f64) -> f64 {
        let sigma_of = |alpha_bar: f64| {
            let alpha_bar = if alpha_bar == 0.0 { FINITE_ALPHA_BAR } else { alpha_bar };
            ((1.0 - alpha_bar) / alpha_bar).sqrt()
        };
        let above = self.alpha_bars.partition_point(|&alpha_bar| sigma_of(alpha_bar) < sigma);
        if above == 0 || above == self.num_timesteps() {
            return above.min(self.num_timesteps() - 1) as f64;
        }
        let log_sigma = |t: usize| sigma_of(self.alpha_bars[t]).ln();
        let (low, high) = (log_sigma(above - 1), log_sigma(above));
        (above - 1) as f64 + (sigma.ln() - low) / (high - low)
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

fn require_num_timesteps(num_timesteps: usize) -> Result<()> {
    if (1..=MAX_TIMESTEPS).contains(&num_timesteps) {
        Ok(())
    } else {
        let expected = format!("1 to {MAX_TIMESTEPS}");
        Err(Error::argument("num_train_timesteps", expected, num_timesteps))
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
    use crate::testing::assert_refuses;
    #[test]
    fn a_noise_level_has_its_timestep() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        for t in [0, 1, 500, 999] {
            assert!((schedule.timestep_of(schedule.sigma(t).unwrap()) - t as f64).abs() < 1e-9);
        }
        let middle = (schedule.sigma(7).unwrap() * schedule.sigma(8).unwrap()).sqrt();
        assert!((schedule.timestep_of(middle) - 7.5).abs() < 1e-9);
        assert_eq!((schedule.timestep_of(1e-6), schedule.timestep_of(1e6)), (0.0, 999.0));
    }

    #[test]
    fn the_ends_of_a_schedule() {
        let one = NoiseSchedule::linear(0.1, 0.2, 1).unwrap();
        assert_eq!((one.num_timesteps(), one.beta(0).unwrap()), (1, 0.1));
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        assert!(schedule.alpha_bar(999).is_ok());
        assert_refuses(schedule.alpha_bar(1000), "timestep: expected 0 to 999, got 1000");
        let (sigma, snr) = (schedule.sigma(321).unwrap(), schedule.snr(321).unwrap());
        assert!((sigma * sigma * snr - 1.0).abs() < 1e-14);
    }

    /// Xu et al. 2022's curve goes from 1/(1 + e⁶) of the way to e⁶/(1 + e⁶) of it, and is odd around its
    /// middle, where it rises with slope ¼.
    #[test]
    fn the_sigmoid_schedule() {
        let (start, end) = (0.0001, 0.02);
        let schedule = NoiseSchedule::new(BetaSchedule::Sigmoid, start, end, 1001).unwrap();
        let share = |t: usize| (schedule.beta(t).unwrap() - start) / (end - start);
        let e_6 = 403.428_793_492_735_1;
        assert!((share(0) - 1.0 / (1.0 + e_6)).abs() < 1e-15);
        assert!((share(1000) - e_6 / (1.0 + e_6)).abs() < 1e-15 && (share(500) - 0.5).abs() < 1e-15);
        assert!((0..=500).all(|t| (share(t) + share(1000 - t) - 1.0).abs() < 1e-14));
        assert!((share(501) - 0.5 - 0.012 / 4.0).abs() < 1e-7);
    }

    #[test]
    fn refuses_impossible_schedules() {
        for (start, end, n, refused) in [
            (0.0, 0.1, 10, "beta_start"),
            (0.1, 1.0, 10, "beta_end"),
            (-0.1, 0.1, 10, "beta_start"),
            (f64::NAN, 0.1, 10, "beta_start"),
            (0.1, 0.2, 0, "num_train_timesteps"),
            (0.1, 0.2, usize::MAX, "num_train_timesteps"),
        ] {
            for kind in [BetaSchedule::Linear, BetaSchedule::ScaledLinear] {
                assert_refuses(NoiseSchedule::new(kind, start, end, n), &format!("{refused}: expected"));
            }
        }
    }
}
