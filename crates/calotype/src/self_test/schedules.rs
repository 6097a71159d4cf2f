//! Noise schedules and the grids of sampling runs.

use super::case::{Found, Inputs};
use super::reference::flow_grid_to_zero;
use super::tensors::{samples, values};
use crate::diffusion::flow::{self, FlowGridRule};
use crate::diffusion::{BetaSchedule, NoiseSchedule, SigmaSpacing, TimestepSpacing, sigma_grid as sigma};
use crate::error::{Error, Result};
use crate::sampler::grid::{SamplingGrid, dpm, euler};
use crate::sampler::timesteps::{GridRule, timesteps as spaced};
use crate::sampler::{Transition, ddim, ddpm};

/// The input `schedule`.
pub fn schedule(inputs: Inputs) -> Result<NoiseSchedule> {
    let spec = inputs.object("schedule")?;
    let t = spec.integer("T")?;
    let kinds = [
        ("linear", BetaSchedule::Linear),
        ("scaled_linear", BetaSchedule::ScaledLinear),
        ("cosine", BetaSchedule::Cosine),
    ];
    let schedule = match spec.choice("schedule", &kinds)? {
        BetaSchedule::Cosine => NoiseSchedule::cosine(spec.number("s")?, spec.number("max_beta")?, t)?,
        kind => NoiseSchedule::new(kind, spec.number("beta_start")?, spec.number("beta_end")?, t)?,
    };
    if spec.has("zero_terminal_snr") && spec.get("zero_terminal_snr")?.as_bool() == Some(true) {
        schedule.with_zero_terminal_snr()
    } else {
        Ok(schedule)
    }
}

pub fn alpha_bar(inputs: Inputs) -> Result<Found> {
    let (schedule, t) = (schedule(inputs)?, inputs.integers("t")?);
    let at =
        |value: &dyn Fn(usize) -> Result<f64>| -> Result<Vec<f64>> { t.iter().map(|&t| value(t)).collect() };
    Ok(Found::new()
        .list("beta", &at(&|t| schedule.beta(t))?)
        .list("alpha_bar", &at(&|t| schedule.alpha_bar(t))?)
        .list("sigma", &at(&|t| schedule.sigma(t))?)
        .list("log_snr", &at(&|t| Ok(schedule.snr(t)?.ln()))?)
        .number("sum_alpha_bar", schedule.alpha_bars().iter().sum()))
}

fn spacing(inputs: Inputs) -> Result<TimestepSpacing> {
    inputs.choice(
        "spacing",
        &[
            ("linspace", TimestepSpacing::Linspace),
            ("leading", TimestepSpacing::Leading),
            ("trailing", TimestepSpacing::Trailing),
        ],
    )
}

pub fn timesteps(inputs: Inputs) -> Result<Found> {
    let rule = inputs.choice("rule", &[("ddim", GridRule::Ddim), ("dpm", GridRule::Dpm)])?;
    let (n, t, offset) = (inputs.integer("N")?, inputs.integer("T")?, inputs.integer("steps_offset")?);
    let found = spaced(spacing(inputs)?, rule, n, t, offset)?;
    Ok(Found::new().counts("timesteps", &found).number("length", found.len() as f64))
}

fn grid(
    inputs: Inputs,
    of: fn(&NoiseSchedule, TimestepSpacing, usize, usize, SigmaSpacing) -> Result<SamplingGrid>,
) -> Result<Found> {
    let (n, offset) = (inputs.integer("N")?, inputs.integer("steps_offset")?);
    let grid = of(&schedule(inputs)?, spacing(inputs)?, n, offset, SigmaSpacing::Timesteps)?;
    Ok(Found::new()
        .list("timesteps", &grid.timesteps)
        .list("sigmas", &grid.sigmas)
        .number("init_noise_sigma", grid.init_noise_sigma))
}

pub fn euler_grid(inputs: Inputs) -> Result<Found> {
    grid(inputs, euler)
}

pub fn dpm_grid(inputs: Inputs) -> Result<Found> {
    grid(inputs, dpm)
}

pub fn sigma_grid(inputs: Inputs) -> Result<Found> {
    let (n, min, max) = (inputs.integer("N")?, inputs.number("sigma_min")?, inputs.number("sigma_max")?);
    let mut sigmas = if inputs.choice("rule", &[("karras", true), ("exponential", false)])? {
        sigma::karras(n, min, max, inputs.number("rho")?)?
    } else {
        sigma::exponential(n, min, max)?
    };
    if inputs.get("append_zero")?.as_bool() == Some(true) {
        sigmas.push(0.0);
    }
    Ok(Found::new().list("sigmas", &sigmas))
}

pub fn flow_grid(inputs: Inputs) -> Result<Found> {
    let rule = inputs.choice(
        "rule",
        &[
            ("shift_once", Some(FlowGridRule::ShiftOnce)),
            ("diffusers", Some(FlowGridRule::Diffusers)),
            ("to_zero", None),
        ],
    )?;
    let (n, t, shift) = (inputs.integer("N")?, inputs.integer("T")?, inputs.number("shift")?);
    let sigmas = match rule {
        Some(rule) => flow::grid(rule, n, t, shift)?,
        None => flow_grid_to_zero(n, shift)?,
    };
    Ok(Found::new().list("sigmas", &sigmas))
}

pub fn step_coefficients(inputs: Inputs) -> Result<Found> {
    let (schedule, t) = (schedule(inputs)?, inputs.integer("t")?);
    let (s, alpha_bar_s) = match inputs.number("t_prev")? {
        -1.0 => (None, inputs.number("alpha_bar_end")?),
        _ => {
            let s = inputs.integer("t_prev")?;
            (Some(s), schedule.alpha_bar(s)?)
        }
    };
    let transition = Transition::new(t, s, schedule.alpha_bar(t)?, alpha_bar_s)?;
    let (coef_x_0, coef_x_t) = ddpm::posterior_mean_coefficients(&transition);
    let mut no_noise = |_: &_| Err(Error::argument("noise", "none for eta 0", "a draw"));
    let direction = ddim::step(samples(&[0.0]), samples(&[1.0]), &transition, 0.0, &mut no_noise)?;
    Ok(Found::new()
        .number("beta_eff", transition.beta())
        .number("posterior_variance", transition.posterior_variance())
        .number("coef_x0", coef_x_0)
        .number("coef_xt", coef_x_t)
        .number("ddim_sigma_eta1", ddim::sigma(&transition, 1.0)?)
        .number("ddim_dir_eta0", values(direction)[0]))
}
