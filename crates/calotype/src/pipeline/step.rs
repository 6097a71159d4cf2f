//! A sampling after one of its steps, and what the network takes its pictures for.

use burn::tensor::Tensor;

use crate::diffusion::{Edm, PredictionType, Rates, SchedulerConfig};
use crate::error::{Error, Result};
use crate::sampler::{Level, Timestep};

/// A sampling after one of its steps.
pub struct Step<'a> {
    /// Latents `[B, C, h, w]`, in the coordinates of the sampler.
    pub x: Tensor<4>,
    /// What they are made of.
    pub level: Level,
    /// Steps that are done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// The last one.
    pub(super) prediction: Option<&'a Prediction>,
    pub(super) scheduler: &'a SchedulerConfig,
}

/// What the network was asked, and what it said, after guidance.
pub(super) struct Prediction {
    pub x_t: Tensor<4>,
    pub output: Tensor<4>,
    pub at: Timestep,
}

impl Step<'_> {
    /// x̂₀: what the network took the pictures for when it was last asked, scaled latents `[B, C, h, w]`. A picture that
    /// develops: at first a blur, never noise.
    ///
    /// # Errors
    /// `Error::Argument` where the network predicts ε and was asked at ᾱ = 0, which says nothing about x₀.
    pub fn x_0(&self) -> Result<Tensor<4>> {
        let Some(prediction) = self.prediction else {
            return Err(Error::argument("step", "one in which the network was asked", self.done));
        };
        x_0(self.scheduler, prediction)
    }
}

fn x_0(scheduler: &SchedulerConfig, Prediction { x_t, output, at }: &Prediction) -> Result<Tensor<4>> {
    let (x_t, output, sigma) = (x_t.clone(), output.clone(), at.sigma);
    if let Some(edm) = Edm::of(scheduler)? {
        let at = edm.at(sigma)?;
        return Ok(at.x_0(output, x_t / at.c_in));
    }
    let rates = match scheduler.prediction_type {
        // t/(1 − t) = σ; all noise where σ is infinite.
        PredictionType::Flow => Rates::flow(&[1.0 - 1.0 / (1.0 + sigma)]),
        _ => Rates::new(&[1.0 / (1.0 + sigma * sigma)]),
    }?;
    scheduler.prediction_type.x_0(output, x_t, &rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::forward_process::add_noise;
    use crate::testing::{samples, values};

    #[test]
    fn a_perfect_network_is_understood() {
        let (x_0, eps) = (samples(&[0.5, -2.0, 1.0]), samples(&[1.5, 0.25, -1.0]));
        let kinds = [
            (PredictionType::Epsilon, Rates::new(&[0.2]), 2.0),
            (PredictionType::VPrediction, Rates::new(&[0.2]), 2.0),
            (PredictionType::VPrediction, Rates::new(&[0.0]), f64::INFINITY),
            (PredictionType::Flow, Rates::flow(&[0.75]), 3.0),
            (PredictionType::Flow, Rates::flow(&[1.0]), f64::INFINITY),
        ];
        for (prediction_type, rates, sigma) in kinds {
            let rates = rates.unwrap();
            let scheduler = SchedulerConfig { prediction_type, ..SchedulerConfig::default() };
            let x_t = add_noise(x_0.clone(), eps.clone(), &rates).unwrap();
            let output = prediction_type.target(x_0.clone(), eps.clone(), &rates).unwrap();
            let prediction = Prediction { x_t, output, at: Timestep { t: 0.0, sigma } };
            let got = super::x_0(&scheduler, &prediction).unwrap();
            for (got, wanted) in values(got).into_iter().zip(values(x_0.clone())) {
                assert!((got - wanted).abs() < 1e-9, "{prediction_type:?} at {sigma}: {got} {wanted}");
            }
        }
    }
}
