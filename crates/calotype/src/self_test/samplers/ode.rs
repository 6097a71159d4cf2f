//! Deterministic samplers: end points, orders of convergence, distributions.

use burn::tensor::Tensor;

use super::model::{Model, WeightedNormal};
use super::{exponential_grid, least_order};
use crate::diffusion::sigma_grid::require_falling;
use crate::diffusion::{PredictionType, X0Limit};
use crate::error::{Error, Result};
use crate::sampler::dpm2::Dpm2;
use crate::sampler::dpmpp_2m::DpmPp2M;
use crate::sampler::dpmpp_2s::DpmPp2S;
use crate::sampler::dpmpp_3m::DpmPp3M;
use crate::sampler::euler::Euler;
use crate::sampler::heun::Heun;
use crate::sampler::solver::{Solver, solve};
use crate::sampler::unipc::{BType, UniPc};
use crate::sampler::{Timestep, Transition, VpMethod, VpSampler};
use crate::self_test::case::{Found, Inputs, unreadable};
use crate::self_test::tensors::{samples, values};

/// A fresh solver of the input `sampler`.
fn solver(name: &str) -> Result<Box<dyn Solver>> {
    Ok(match name {
        "euler" => Box::new(Euler),
        "heun" => Box::new(Heun::default()),
        "dpm2" => Box::new(Dpm2),
        "dpmpp_2s" => Box::new(DpmPp2S),
        "dpmpp_2m" => Box::new(DpmPp2M::default()),
        "dpmpp_3m" => Box::new(DpmPp3M::default()),
        "unip2" => Box::new(UniPc::new(2, BType::Bh2, false)),
        "unipc2" => Box::new(UniPc::new(2, BType::Bh2, true)),
        "unipc3" => Box::new(UniPc::new(3, BType::Bh2, true)),
        "unipc2_bh1" => Box::new(UniPc::new(2, BType::Bh1, true)),
        other => return Err(unreadable("sampler", "a deterministic sampler", other)),
    })
}

/// The results of the starts at the end of the grid.
fn run(inputs: Inputs, model: &Model, sigmas: &[f64], start: &[f64]) -> Result<Vec<f64>> {
    let sampler = inputs.text("sampler")?;
    if sampler == "ddim" {
        return ddim(model, sigmas, start);
    }
    let mut denoise = |x: &Tensor<4>, sigma: f64| model.x_0(x, sigma);
    let mut solver = solver(sampler)?;
    Ok(values(solve(&mut *solver, samples(start), sigmas, &mut denoise, &mut no_noise, &mut |_, _| ())?))
}

fn no_noise(_: &Tensor<4>) -> Result<Tensor<4>> {
    Err(Error::argument("noise", "none for a deterministic sampler", "a draw"))
}

/// DDIM with η = 0 over the same noise levels in the coordinates of a schedule: ᾱ = 1/(1 + σ²).
fn ddim(model: &Model, sigmas: &[f64], start: &[f64]) -> Result<Vec<f64>> {
    require_falling(sigmas)?;
    let stretch = |sigma: f64| (1.0 + sigma * sigma).sqrt();
    let alpha_bar = |sigma: f64| 1.0 / (1.0 + sigma * sigma);
    let last = sigmas.len() - 1;
    // Timesteps are only names here: they count down to the end of the grid.
    let transitions = (0..last)
        .map(|i| {
            Transition::new(last - i, Some(last - i - 1), alpha_bar(sigmas[i]), alpha_bar(sigmas[i + 1]))
        })
        .collect::<Result<Vec<_>>>()?;
    let sampler = VpSampler {
        method: VpMethod::Ddim { eta: 0.0 },
        prediction_type: PredictionType::Sample,
        limit: X0Limit::Unlimited,
        transitions,
    };
    let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
        let sigma = sigmas[last - t as usize];
        model.x_0(&(x.clone() * stretch(sigma)), sigma)
    };
    let start = samples(start) / stretch(sigmas[0]);
    let end = sampler.sample(start, &mut no_noise, &mut denoise, &mut |_, _| ())?;
    Ok(values(end * stretch(sigmas[last])))
}

pub fn endpoint(inputs: Inputs) -> Result<Found> {
    let end = run(inputs, &Model::read(inputs)?, &inputs.list("sigmas")?, &inputs.list("x_start")?)?;
    Ok(Found::new().list("x_end", &end))
}

pub fn convergence(inputs: Inputs) -> Result<Found> {
    let (model, start, exact) = (Model::read(inputs)?, inputs.list("x_start")?, inputs.list("x_exact")?);
    let (mut ends, mut errors) = (Vec::new(), Vec::new());
    for steps in inputs.integers("N")? {
        let end = run(inputs, &model, &exponential_grid(inputs, steps)?, &start)?;
        let squared: f64 = end.iter().zip(&exact).map(|(x, exact)| (x - exact).powi(2)).sum();
        errors.push((squared / end.len() as f64).sqrt());
        ends.extend(end);
    }
    let order = least_order(&errors, inputs.integer("order_pairs")?)?;
    Ok(Found::new().rows("x_end", &ends, start.len()).number("order_at_least", order))
}

pub fn pushforward(inputs: Inputs) -> Result<Found> {
    let model = Model::read(inputs)?;
    let end = run(inputs, &model, &inputs.list("sigmas")?, &inputs.list("x_start")?)?;
    let n = end.len() as f64;
    let mean = end.iter().sum::<f64>() / n;
    let var = end.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let error = |(i, x): (usize, &f64)| (distribution(model.components(), *x) - (i as f64 + 0.5) / n).abs();
    let max_cdf_error = end.iter().enumerate().map(error).fold(0.0, f64::max);
    Ok(Found::new().number("mean", mean).number("var", var).number("max_cdf_error", max_cdf_error))
}

/// F(x) of a mixture.
fn distribution(components: &[WeightedNormal], x: f64) -> f64 {
    let normal = |z: f64| 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    components.iter().map(|c| c.w * normal((x - c.m) / c.s)).sum()
}
