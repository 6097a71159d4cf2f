//! Forward process, predictions, weights, flow, EDM.

use burn::tensor::Tensor;

use crate::diffusion::edm::Preconditioning;
use crate::diffusion::forward_process::add_noise;
use crate::diffusion::{PredictionType, Rates, flow, loss_weight};
use crate::error::Result;
use crate::self_test::case::{Found, Inputs};
use crate::self_test::reference;
use crate::self_test::schedules::schedule;
use crate::self_test::tensors::{samples, scalar, values};

pub fn prediction_type(inputs: Inputs) -> Result<PredictionType> {
    inputs.choice(
        "prediction_type",
        &[
            ("epsilon", PredictionType::Epsilon),
            ("v_prediction", PredictionType::VPrediction),
            ("sample", PredictionType::Sample),
        ],
    )
}

struct Noised {
    rates: Rates,
    x_0: Tensor<4>,
    eps: Tensor<4>,
    x_t: Tensor<4>,
}

fn noised(inputs: Inputs) -> Result<Noised> {
    let rates = Rates::new(&[inputs.number("alpha_bar")?])?;
    let (x_0, eps) = (samples(&inputs.list("x0")?), samples(&inputs.list("eps")?));
    let x_t = add_noise(x_0.clone(), eps.clone(), &rates)?;
    Ok(Noised { rates, x_0, eps, x_t })
}

pub fn vp_forward(inputs: Inputs) -> Result<Found> {
    let Noised { rates, x_0, eps, x_t } = noised(inputs)?;
    let v = PredictionType::VPrediction.target(x_0, eps, &rates)?;
    Ok(Found::new().list("x_t", &values(x_t)).list("v", &values(v)))
}

pub fn vp_prediction(inputs: Inputs) -> Result<Found> {
    let Noised { rates, x_0, eps, x_t } = noised(inputs)?;
    let (prediction, output) = (prediction_type(inputs)?, samples(&inputs.list("model_output")?));
    let target = prediction.target(x_0, eps, &rates)?;
    let mse = (output.clone() - target).square().mean();
    let pred_x_0 = prediction.x_0(output.clone(), x_t.clone(), &rates)?;
    let pred_eps = prediction.eps(output, x_t, &rates)?;
    Ok(Found::new()
        .list("pred_x0", &values(pred_x_0))
        .list("pred_eps", &values(pred_eps))
        .number("mse", scalar(mse)))
}

fn min_snr(inputs: Inputs, snr: &[f64]) -> Result<Vec<f64>> {
    let (gamma, prediction) = (inputs.number("gamma")?, prediction_type(inputs)?);
    snr.iter().map(|&snr| loss_weight::min_snr(snr, gamma, prediction)).collect()
}

pub fn min_snr_weight(inputs: Inputs) -> Result<Found> {
    Ok(Found::new().list("weight", &min_snr(inputs, &inputs.list("snr")?)?))
}

pub fn min_snr_weight_schedule(inputs: Inputs) -> Result<Found> {
    let schedule = schedule(inputs)?;
    let snr: Vec<f64> = inputs.integers("t")?.into_iter().map(|t| schedule.snr(t)).collect::<Result<_>>()?;
    Ok(Found::new().list("weight", &min_snr(inputs, &snr)?).list("snr", &snr))
}

pub fn flow_matching_target(inputs: Inputs) -> Result<Found> {
    let t = inputs.list("t")?;
    let same = |key: &str| -> Result<Tensor<4>> { Ok(samples(&vec![inputs.number(key)?; t.len()])) };
    let (x_0, noise) = (same("x0")?, same("noise")?);
    let rates = Rates::flow(&t)?;
    let x_t = add_noise(x_0.clone(), noise.clone(), &rates)?;
    let velocity = PredictionType::Flow.target(x_0, noise, &rates)?;
    Ok(Found::new().list("x_t", &values(x_t)).list("velocity", &values(velocity)))
}

pub fn flow_shift(inputs: Inputs) -> Result<Found> {
    let by = inputs.number("shift")?;
    let shifted: Vec<f64> = inputs.list("sigma")?.into_iter().map(|s| flow::shift(s, by)).collect();
    Ok(Found::new().list("shifted", &shifted))
}

pub fn flow_shift_exponential(inputs: Inputs) -> Result<Found> {
    let mu = inputs.number("mu")?;
    let shifted: Vec<f64> =
        inputs.list("sigma")?.into_iter().map(|s| flow::shift_exponential(s, mu)).collect();
    Ok(Found::new().list("shifted", &shifted))
}

pub fn logit_normal(inputs: Inputs) -> Result<Found> {
    let (mean, std) = (inputs.number("mean")?, inputs.number("std")?);
    let t: Vec<f64> = inputs.list("z")?.into_iter().map(|z| flow::logit_normal(z, mean, std)).collect();
    Ok(Found::new().list("t", &t))
}

pub fn edm_preconditioning(inputs: Inputs) -> Result<Found> {
    let sigma_data = inputs.number("sigma_data")?;
    let sigmas = inputs.list("sigma")?;
    let all: Vec<Preconditioning> =
        sigmas.into_iter().map(|sigma| Preconditioning::new(sigma, sigma_data)).collect::<Result<_>>()?;
    let each = |of: fn(&Preconditioning) -> f64| all.iter().map(of).collect::<Vec<_>>();
    Ok(Found::new()
        .list("c_skip", &each(|c| c.c_skip))
        .list("c_out", &each(|c| c.c_out))
        .list("c_in", &each(|c| c.c_in))
        .list("c_noise", &each(|c| c.c_noise))
        .list("weight", &each(|c| c.weight)))
}

pub fn edm2_uncertainty(inputs: Inputs) -> Result<Found> {
    let (weight, error) = (inputs.list("weight")?, inputs.list("sq_err")?);
    let logvar = inputs.number("logvar")?;
    let loss: Vec<f64> =
        weight.iter().zip(&error).map(|(w, e)| reference::uncertainty_loss(*w, *e, logvar)).collect();
    Ok(Found::new().list("loss", &loss))
}
