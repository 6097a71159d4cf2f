//! Pseudo numerical methods: the slopes of classical solvers, carried by DDIM's step.

use burn::tensor::Tensor;

use super::run::AfterStep;
use super::transition::{self, Transition};
use super::{Compat, Denoise, Noise, SamplerSettings, Timestep, ddim};
use crate::diffusion::{PredictionType, Rates, SchedulerClass, SchedulerConfig, X0Limit};
use crate::{Error, Result};

/// A run of linear multistep steps (PLMS) of up to four noise predictions, with a start of its own.
///
/// Liu et al. 2022, arXiv:2202.09778, Algorithm 2; without the Runge-Kutta start the first step averages
/// the predictions at its two ends, as in Stable Diffusion.
#[derive(Debug, Clone, PartialEq)]
pub struct PndmSampler {
    prediction_type: PredictionType,
    /// Three Runge-Kutta steps of four calls each at the start.
    runge_kutta: bool,
    /// Combine the network's outputs as they are, not the noise that they stand for.
    raw_outputs: bool,
    pub(super) transitions: Vec<Transition>,
    /// ᾱ of every timestep, for the middle of Runge-Kutta steps.
    alpha_bars: Vec<f64>,
}

impl PndmSampler {
    /// Over the schedule and spacing of a model; Runge-Kutta at the start unless its `skip_prk_steps` says
    /// not to, or its class is another than PNDM.
    ///
    /// # Errors
    /// As [`super::VpSampler::new`]; `Error::Argument` for fewer than 4 steps with a Runge-Kutta start, and
    /// for a model that limits x̂₀, or starts at zero signal.
    pub fn new(config: &SchedulerConfig, settings: &SamplerSettings) -> Result<Self> {
        // diffusers' class has no such keys and ignores them.
        if config.class_name != SchedulerClass::Pndm {
            X0Limit::require_none(config, settings.kind)?;
        }
        let schedule = config.noise_schedule()?;
        let is_pndm = config.class_name == SchedulerClass::Pndm;
        let runge_kutta = is_pndm && !config.option::<bool>("skip_prk_steps")?.unwrap_or(false);
        if runge_kutta && settings.steps < 4 {
            return Err(Error::argument("steps", "at least 4, of which 3 are Runge-Kutta's", settings.steps));
        }
        let alpha_bar_end = if config.set_alpha_to_one { 1.0 } else { schedule.alpha_bar(0)? };
        let transitions = transition::of_run(&schedule, config, settings, alpha_bar_end)?;
        if let Some(pure_noise) = transitions.iter().find(|transition| transition.alpha_bar_t == 0.0) {
            let expected =
                "another for this model: pndm follows the noise, which at zero SNR says nothing of x_0";
            return Err(Error::argument("sampler", expected, format!("pndm, at timestep {}", pure_noise.t)));
        }
        Ok(Self {
            prediction_type: config.prediction_type,
            runge_kutta,
            raw_outputs: settings.compat == Some(Compat::Diffusers),
            transitions,
            alpha_bars: schedule.alpha_bars().to_vec(),
        })
    }

    /// From x at the first transition's noise level.
    pub(super) fn run(
        &self,
        mut x: Tensor<4>,
        denoise: &mut dyn Denoise,
        after: &mut dyn AfterStep,
    ) -> Result<Tensor<4>> {
        // Newest first.
        let mut history: Vec<Tensor<4>> = Vec::new();
        for (i, transition) in self.transitions.iter().enumerate() {
            if self.runge_kutta && i < 3 {
                let (end, first) = self.runge_kutta(x, transition, denoise)?;
                x = end;
                history.insert(0, first);
            } else {
                let output = self.predict(&x, transition.t, transition.alpha_bar_t, denoise)?;
                history.insert(0, output);
                history.truncate(4);
                x = match history.len() {
                    1 => self.improved_euler(x, transition, &history[0], denoise)?,
                    _ => self.transfer(x, adams_bashforth(&history), transition)?,
                };
            }
            x = after.after_step(x, transition.end(), i + 1, self.transitions.len())?;
        }
        Ok(x)
    }

    /// What is combined over timesteps: ε̂, or the network's output in diffusers' way.
    fn predict(
        &self,
        x: &Tensor<4>,
        t: usize,
        alpha_bar: f64,
        denoise: &mut dyn Denoise,
    ) -> Result<Tensor<4>> {
        let output = denoise.denoise(x, Timestep::of_alpha_bar(t, alpha_bar))?;
        if self.raw_outputs {
            Ok(output)
        } else {
            self.prediction_type.eps(output, x.clone(), &Rates::new(&[alpha_bar])?)
        }
    }

    /// DDIM's step along a combined prediction (Eq. 11).
    fn transfer(&self, x: Tensor<4>, combined: Tensor<4>, transition: &Transition) -> Result<Tensor<4>> {
        let rates = Rates::new(&[transition.alpha_bar_t])?;
        let eps =
            if self.raw_outputs { self.prediction_type.eps(combined, x.clone(), &rates)? } else { combined };
        let x_0 = PredictionType::Epsilon.x_0(eps.clone(), x, &rates)?;
        let mut no_noise = |x: &Tensor<4>| Ok(x.zeros_like());
        ddim::step(x_0, eps, transition, 0.0, &mut no_noise as &mut dyn Noise)
    }

    /// The first step without Runge-Kutta: by the mean of the predictions at both ends.
    fn improved_euler(
        &self,
        x: Tensor<4>,
        transition: &Transition,
        first: &Tensor<4>,
        denoise: &mut dyn Denoise,
    ) -> Result<Tensor<4>> {
        let end = self.transfer(x.clone(), first.clone(), transition)?;
        // Past the last timestep there is no prediction to average with.
        let Some(s) = transition.s else { return Ok(end) };
        let second = self.predict(&end, s, transition.alpha_bar_s, denoise)?;
        self.transfer(x, (first.clone() + second) * 0.5, transition)
    }

    /// Four calls over one step: its end, and the prediction at its start.
    fn runge_kutta(
        &self,
        x: Tensor<4>,
        transition: &Transition,
        denoise: &mut dyn Denoise,
    ) -> Result<(Tensor<4>, Tensor<4>)> {
        let Some(s) = transition.s else {
            return Err(Error::argument(
                "steps",
                "more steps than Runge-Kutta takes",
                self.transitions.len(),
            ));
        };
        let middle = s + (transition.t - s) / 2;
        let alpha_bar_middle = self.alpha_bars[middle];
        let half = Transition { s: Some(middle), alpha_bar_s: alpha_bar_middle, ..*transition };
        let first = self.predict(&x, transition.t, transition.alpha_bar_t, denoise)?;
        let at = self.transfer(x.clone(), first.clone(), &half)?;
        let second = self.predict(&at, middle, alpha_bar_middle, denoise)?;
        let at = self.transfer(x.clone(), second.clone(), &half)?;
        let third = self.predict(&at, middle, alpha_bar_middle, denoise)?;
        let at = self.transfer(x.clone(), third.clone(), transition)?;
        let fourth = self.predict(&at, s, transition.alpha_bar_s, denoise)?;
        let combined = (first.clone() + fourth + (second + third) * 2.0) / 6.0;
        Ok((self.transfer(x, combined, transition)?, first))
    }
}

/// Adams and Bashforth's combination of two to four predictions, newest first (Eq. 9).
fn adams_bashforth(history: &[Tensor<4>]) -> Tensor<4> {
    let weights: &[f64] = match history.len() {
        2 => &[3.0 / 2.0, -1.0 / 2.0],
        3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    };
    let mut terms = history.iter().zip(weights).map(|(prediction, weight)| prediction.clone() * *weight);
    let first = terms.next().expect("callers pass at least two predictions");
    terms.fold(first, |sum, term| sum + term)
}
