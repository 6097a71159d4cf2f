//! Stochastic samplers on Gaussian data: mean and variance of their results, exactly.
//!
//! On Gaussian data each sampler is an affine map of its start and its noises, so one batch of probes
//! tells it all: the start at its mean, the start one off, and unit noise in each single draw.

use burn::tensor::Tensor;

use super::model::Model;
use super::{exponential_grid, least_order};
use crate::diffusion::{PredictionType, VarianceType, X0Limit};
use crate::error::{Error, Result};
use crate::sampler::dpmpp_2m::DpmPp2M;
use crate::sampler::euler_ancestral::EulerAncestral;
use crate::sampler::heun::{Churn, Heun};
use crate::sampler::solver::{Solver, solve};
use crate::sampler::{Noise, Timestep, VpMethod, VpSampler, transition};
use crate::self_test::case::{Found, Inputs, unreadable};
use crate::self_test::schedules::schedule;
use crate::self_test::tensors::{samples, values};

struct Moments {
    mean: f64,
    var: f64,
}

impl Moments {
    fn start(inputs: Inputs) -> Result<Self> {
        let start = inputs.object("start")?;
        Ok(Self { mean: start.number("mean")?, var: start.number("var")? })
    }

    /// Of the results of `run`, which draws at most `draws` times.
    fn push(
        self,
        draws: usize,
        run: impl FnOnce(Tensor<4>, &mut dyn Noise) -> Result<Tensor<4>>,
    ) -> Result<Self> {
        let mut start = vec![self.mean; draws + 2];
        start[1] += 1.0;
        let mut drawn = 0;
        let mut unit_noise = |_: &Tensor<4>| {
            drawn += 1;
            let mut z = vec![0.0; draws + 2];
            *z.get_mut(drawn + 1).ok_or_else(|| Error::argument("draws", "one for each step", drawn))? = 1.0;
            Ok(samples(&z))
        };
        let end = values(run(samples(&start), &mut unit_noise)?);
        let of_noise: f64 = end[2..].iter().map(|probe| (probe - end[0]).powi(2)).sum();
        Ok(Self { mean: end[0], var: (end[1] - end[0]).powi(2) * self.var + of_noise })
    }

    fn found(self) -> Found {
        Found::new().number("mean", self.mean).number("var", self.var)
    }
}

fn solver(inputs: Inputs) -> Result<Box<dyn Solver>> {
    Ok(match inputs.text("sampler")? {
        "euler_ancestral" => Box::new(EulerAncestral { eta: inputs.number("eta")? }),
        "dpmpp_2m_sde" => Box::new(DpmPp2M::new(inputs.number("eta")?)),
        "heun_churn" => {
            let churn = Churn {
                amount: inputs.number("s_churn")?,
                sigma_min: inputs.number("s_tmin")?,
                sigma_max: inputs.number("s_tmax")?,
                noise: inputs.number("s_noise")?,
            };
            Box::new(Heun { churn: Some(churn) })
        }
        other => return Err(unreadable("sampler", "a stochastic sampler", other)),
    })
}

fn over(inputs: Inputs, sigmas: &[f64]) -> Result<Moments> {
    let (model, mut solver) = (Model::read(inputs)?, solver(inputs)?);
    let mut denoise = |x: &Tensor<4>, sigma: f64| model.x_0(x, sigma);
    Moments::start(inputs)?
        .push(sigmas.len(), |x, noise| solve(&mut *solver, x, sigmas, &mut denoise, noise, &mut |_, _| ()))
}

pub fn sigma_space(inputs: Inputs) -> Result<Found> {
    Ok(over(inputs, &inputs.list("sigmas")?)?.found())
}

pub fn weak_convergence(inputs: Inputs) -> Result<Found> {
    let exact = inputs.number("var_exact")?;
    let mut variances = Vec::new();
    for steps in inputs.integers("N")? {
        variances.push(over(inputs, &exponential_grid(inputs, steps)?)?.var);
    }
    let errors: Vec<f64> = variances.iter().map(|var| (var - exact).abs()).collect();
    let order = least_order(&errors, inputs.integer("order_pairs")?)?;
    Ok(Found::new().list("var_end", &variances).number("order_at_least", order))
}

pub fn vp_space(inputs: Inputs) -> Result<Found> {
    let (schedule, timesteps) = (schedule(inputs)?, inputs.integers("timesteps")?);
    let model = Model::gaussian(inputs)?;
    let method = match inputs.text("sampler")? {
        "ddim" if inputs.has("eta") => VpMethod::Ddim { eta: inputs.number("eta")? },
        "ddim" => VpMethod::Ddim { eta: 0.0 },
        "ddpm" if inputs.has("variance") => VpMethod::Ddpm(inputs.choice(
            "variance",
            &[("fixed_small", VarianceType::FixedSmall), ("fixed_large", VarianceType::FixedLarge)],
        )?),
        "ddpm" => VpMethod::Ddpm(VarianceType::FixedSmall),
        other => return Err(unreadable("sampler", "ddim or ddpm", other)),
    };
    let sampler = VpSampler {
        method,
        prediction_type: PredictionType::Epsilon,
        limit: X0Limit::Unlimited,
        transitions: transition::over(&schedule, &timesteps, inputs.number("alpha_bar_end")?)?,
    };
    // E[ε | x_t] = √(1−ᾱ)·(x_t − √ᾱ·m)/(ᾱ·s² + 1−ᾱ).
    let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
        let a = schedule.alpha_bar(t as usize)?;
        let variance = a * model.s * model.s + 1.0 - a;
        Ok((x.clone() - a.sqrt() * model.m) * ((1.0 - a).sqrt() / variance))
    };
    let moments = Moments::start(inputs)?
        .push(timesteps.len(), |x, noise| sampler.sample(x, noise, &mut denoise, &mut |_, _| ()))?;
    Ok(moments.found())
}
