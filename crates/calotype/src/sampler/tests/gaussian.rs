//! Networks that know their data, x₀ ~ N(m, s²), in closed form.

use burn::tensor::Tensor;

use crate::Result;
use crate::diffusion::{PredictionType, Rates, SchedulerConfig};
use crate::sampler::Timestep;

/// x₀ ~ N(m, s²), independent pixels.
#[derive(Clone, Copy)]
pub struct Gaussian {
    pub m: f64,
    pub s: f64,
}

impl Gaussian {
    /// E[ε | x_t] = √(1−ᾱ)·(x_t − √ᾱ·m)/(ᾱ·s² + 1−ᾱ).
    pub fn eps(self, x: &Tensor<4>, alpha_bar: f64) -> Tensor<4> {
        let variance = alpha_bar * self.s * self.s + 1.0 - alpha_bar;
        (x.clone() - alpha_bar.sqrt() * self.m) * ((1.0 - alpha_bar).sqrt() / variance)
    }

    /// E[x₀ | x₀ + σ·ε = x] = (s²·x + σ²·m)/(s² + σ²).
    pub fn x_0(self, x: &Tensor<4>, sigma: f64) -> Tensor<4> {
        let (s, v) = (self.s * self.s, sigma * sigma);
        (x.clone() * s + v * self.m) / (s + v)
    }

    /// Where the probability-flow ODE leads x, from signal·x₀ + noise·ε at the shares `from` = (signal, noise) to
    /// those of `to`: it keeps (x − signal·m)/√(signal²·s² + noise²).
    pub fn flow(self, x: f64, from: (f64, f64), to: (f64, f64)) -> f64 {
        let std = |(signal, noise): (f64, f64)| (signal * self.s).hypot(noise);
        to.0 * self.m + (x - from.0 * self.m) * std(to) / std(from)
    }
}

/// The network of Gaussian data in the coordinates of the schedule, between its timesteps too.
pub fn network(
    config: &SchedulerConfig,
    model: Gaussian,
) -> impl FnMut(&Tensor<4>, Timestep) -> Result<Tensor<4>> {
    let schedule = config.noise_schedule().unwrap();
    let prediction_type = config.prediction_type;
    move |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
        let log_sigma = |t: usize| schedule.sigma(t).unwrap().ln();
        let below = t.floor() as usize;
        let sigma = match t.fract() {
            0.0 => log_sigma(below),
            fraction => log_sigma(below) + fraction * (log_sigma(below + 1) - log_sigma(below)),
        }
        .exp();
        let alpha_bar = 1.0 / (1.0 + sigma * sigma);
        let rates = Rates::new(&[alpha_bar])?;
        let eps = model.eps(x, alpha_bar);
        let x_0 = PredictionType::Epsilon.x_0(eps.clone(), x.clone(), &rates)?;
        prediction_type.target(x_0, eps, &rates)
    }
}

/// The flow of Gaussian data: E[ε − x₀ | x_t].
pub fn velocity(
    model: Gaussian,
    num_timesteps: f64,
) -> impl FnMut(&Tensor<4>, Timestep) -> Result<Tensor<4>> {
    move |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
        let t = t / num_timesteps;
        let (signal, variance) = (1.0 - t, (1.0 - t).powi(2) * model.s * model.s + t * t);
        let r = x.clone() - signal * model.m;
        Ok(r * ((t - signal * model.s * model.s) / variance) - model.m)
    }
}
