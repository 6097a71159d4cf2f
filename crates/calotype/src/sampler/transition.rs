//! One move of the reverse process, as the schedule sees it.

use super::timesteps::{GridRule, require_below, timesteps};
use super::{Compat, Level, SamplerKind, SamplerSettings, Timestep};
use crate::diffusion::{NoiseSchedule, SchedulerConfig, TimestepSpacing};
use crate::{Error, Result};

/// From timestep t to the next one visited, s < t, or past the end to the clean side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// Where the network is asked.
    pub t: usize,
    /// Where the step leads; `None` past the end.
    pub s: Option<usize>,
    /// ᾱ_t, in [0, 1).
    pub alpha_bar_t: f64,
    /// ᾱ_s, in [ᾱ_t, 1]. Equal only where a run that ends at ᾱ_0 visits t = 0: that step changes
    /// nothing.
    pub alpha_bar_s: f64,
}

impl Transition {
    /// A transition between two noise levels.
    ///
    /// # Errors
    /// `Error::Argument` unless s < t and 0 ≤ ᾱ_t ≤ ᾱ_s ≤ 1 and ᾱ_t < 1.
    pub fn new(t: usize, s: Option<usize>, alpha_bar_t: f64, alpha_bar_s: f64) -> Result<Self> {
        if s.is_some_and(|s| s >= t) {
            return Err(Error::argument(
                "timesteps",
                format!("a value below {t} after {t}"),
                format!("{s:?}"),
            ));
        }
        if !(0.0 <= alpha_bar_t && alpha_bar_t <= alpha_bar_s && alpha_bar_s <= 1.0 && alpha_bar_t < 1.0) {
            let got = format!("{alpha_bar_s} after {alpha_bar_t} at t = {t}");
            return Err(Error::argument("alpha_bar", "values below 1 that rise towards the clean side", got));
        }
        Ok(Self { t, s, alpha_bar_t, alpha_bar_s })
    }

    /// Where the network is asked.
    pub fn start(&self) -> Timestep {
        Timestep::of_alpha_bar(self.t, self.alpha_bar_t)
    }

    /// What x is made of at the end: past the last timestep no noise is left to speak of.
    pub fn end(&self) -> Level {
        self.s.map_or(Level::CLEAN, |_| Level::of_alpha_bar(self.alpha_bar_s))
    }

    /// β = 1 − ᾱ_t/ᾱ_s, the variance that the forward process adds from s to t (β_t where
    /// s = t−1).
    pub fn beta(&self) -> f64 {
        1.0 - self.alpha_bar_t / self.alpha_bar_s
    }

    /// β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β, the variance of q(x_s | x_t, x₀); 0 where ᾱ_s = 1.
    ///
    /// Ho et al. 2020, arXiv:2006.11239, Eq. 7.
    pub fn posterior_variance(&self) -> f64 {
        (1.0 - self.alpha_bar_s) / (1.0 - self.alpha_bar_t) * self.beta()
    }
}

/// The transitions over falling `timesteps`; the last one ends at `alpha_bar_end`.
///
/// # Errors
/// `Error::Argument` if a timestep is T or more, or the timesteps do not fall strictly, or
/// `alpha_bar_end` is below the last ᾱ_t or above 1.
pub fn over(schedule: &NoiseSchedule, timesteps: &[usize], alpha_bar_end: f64) -> Result<Vec<Transition>> {
    let step = |(i, &t): (usize, &usize)| {
        let s = timesteps.get(i + 1).copied();
        let alpha_bar_s = s.map_or(Ok(alpha_bar_end), |s| schedule.alpha_bar(s))?;
        Transition::new(t, s, schedule.alpha_bar(t)?, alpha_bar_s)
    };
    timesteps.iter().enumerate().map(step).collect()
}

/// The transitions of a run over the schedule and spacing of a model.
///
/// # Errors
/// As [`timesteps`] and [`over`]; `Error::Argument` if the spacing starts at T or beyond.
pub fn of_run(
    schedule: &NoiseSchedule,
    config: &SchedulerConfig,
    settings: &SamplerSettings,
    alpha_bar_end: f64,
) -> Result<Vec<Transition>> {
    let (spacing, offset, steps) = (config.timestep_spacing, config.steps_offset, settings.steps);
    let num_timesteps = schedule.num_timesteps();
    let grid = timesteps(spacing, GridRule::Ddim, steps, num_timesteps, offset)?;
    require_below(&grid, spacing, num_timesteps, offset)?;
    match (settings.compat, settings.kind) {
        (Some(Compat::Diffusers), SamplerKind::Ddim) => by_stride(schedule, &grid, spacing, alpha_bar_end),
        _ => over(schedule, &grid, alpha_bar_end),
    }
}

/// The transitions of diffusers' DDIM, which all lead ⌊T/N⌋ timesteps down: to the next timestep of the
/// grid under `leading`, elsewhere otherwise.
///
/// # Errors
/// As [`over`]; `Error::Argument` for a number of steps with which diffusers would also visit t = −1.
fn by_stride(
    schedule: &NoiseSchedule,
    timesteps: &[usize],
    spacing: TimestepSpacing,
    alpha_bar_end: f64,
) -> Result<Vec<Transition>> {
    let num_timesteps = schedule.num_timesteps() as f64;
    let steps = timesteps.len();
    // A running float range from T down to 0 by T/N has an entry too many where the quotient rounds down.
    let entries = (num_timesteps / (num_timesteps / steps as f64)).ceil();
    if spacing == TimestepSpacing::Trailing && entries > steps as f64 {
        let expected = "another number: with this one diffusers visits t = -1, which is no noise level";
        return Err(Error::argument("steps", expected, steps));
    }
    let stride = schedule.num_timesteps() / steps;
    let step = |&t: &usize| {
        let s = t.checked_sub(stride);
        let alpha_bar_s = s.map_or(Ok(alpha_bar_end), |s| schedule.alpha_bar(s))?;
        Transition::new(t, s, schedule.alpha_bar(t)?, alpha_bar_s)
    };
    timesteps.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn one_timestep_apart_beta_is_the_schedule() {
        let schedule = NoiseSchedule::linear(0.0001, 0.02, 1000).unwrap();
        for transition in over(&schedule, &[700, 699, 698], 1.0).unwrap().into_iter().take(2) {
            assert!((transition.beta() - schedule.beta(transition.t).unwrap()).abs() < 1e-14);
        }
    }

    #[test]
    fn refuses_timesteps_that_do_not_fall() {
        let schedule = NoiseSchedule::linear(0.0001, 0.02, 1000).unwrap();
        assert!(over(&schedule, &[500, 100], 1.0).is_ok());
        for (timesteps, end, refused) in [
            (vec![100, 500], 1.0, "timesteps: expected a value below 100"),
            (vec![100, 100], 1.0, "timesteps: expected a value below 100"),
            (vec![1000], 1.0, "timestep: expected 0 to 999"),
            (vec![500], 1.1, "alpha_bar: expected values below 1"),
            (vec![500], 0.0, "alpha_bar: expected values below 1"),
        ] {
            assert_refuses(over(&schedule, &timesteps, end), refused);
        }
    }
}
