//! The autoencoder's: KL, likelihood, discriminator, LPIPS.

use burn::tensor::Tensor;

use crate::autoencoder::discriminator as gan;
use crate::autoencoder::loss::{Reconstruction, ldm_loss};
use crate::autoencoder::{DiagonalGaussian, lpips};
use crate::error::{Error, Result};
use crate::self_test::case::{Found, Inputs};
use crate::self_test::reference;
use crate::self_test::tensors::{array, row, samples, scalar, tensor, values};

pub fn kl_standard_normal(inputs: Inputs) -> Result<Found> {
    let leaf = |key: &str| -> Result<Tensor<4>> { Ok(samples(&inputs.list(key)?).autodiff().require_grad()) };
    let (mean, logvar) = (leaf("mu")?, leaf("logvar")?);
    let q = DiagonalGaussian::new(mean.clone(), logvar.clone())?;
    let kl = q.kl_per_element();
    let gradients = kl.clone().sum().backward();
    let gradient = |x: &Tensor<4>| {
        x.grad(&gradients).ok_or_else(|| Error::argument("gradient", "one of the KL", "none"))
    };
    Ok(Found::new()
        .list("kl", &values(kl))
        .list("std", &values(q.std()))
        .list("dkl_dmu", &values(gradient(&mean)?))
        .list("dkl_dlogvar", &values(gradient(&logvar)?)))
}

pub fn kl_reductions(inputs: Inputs) -> Result<Found> {
    let q = DiagonalGaussian::new(tensor(&inputs.array("mu")?)?, tensor(&inputs.array("logvar")?)?)?;
    Ok(Found::new()
        .list("per_sample_sum", &values(q.kl()))
        .number("batch_mean_of_sums", scalar(q.kl().mean()))
        .number("mean_over_all_elements", scalar(q.kl_per_element().mean())))
}

fn gaussian(inputs: Inputs, mean: &str, logvar: &str) -> Result<(f64, f64)> {
    Ok((inputs.number(mean)?, inputs.number(logvar)?))
}

pub fn kl_two_gaussians(inputs: Inputs) -> Result<Found> {
    let (q, p) = (gaussian(inputs, "mu1", "logvar1")?, gaussian(inputs, "mu2", "logvar2")?);
    Ok(Found::new().number("kl", reference::kl_of_gaussians(q, p)))
}

pub fn gaussian_nll(inputs: Inputs) -> Result<Found> {
    let nll = reference::gaussian_nll(gaussian(inputs, "mu", "logvar")?, inputs.number("x")?);
    Ok(Found::new().number("nll", nll))
}

pub fn moments_split(inputs: Inputs) -> Result<Found> {
    let q = DiagonalGaussian::from_moments(tensor(&inputs.array("moments")?)?)?;
    Ok(Found::new().array("mean", &array(q.mean)).array("logvar", &array(q.logvar)))
}

pub fn generator_loss(inputs: Inputs) -> Result<Found> {
    let images = |key: &str| -> Result<Tensor<4>> {
        let images = inputs.array(key)?;
        Ok(row(&images.values, [images.rows(), images.columns(), 1, 1]))
    };
    let list = |key: &str| -> Result<Tensor<1>> { tensor(&inputs.array(key)?) };
    let number = |key: &str| -> Result<Tensor<1>> { Ok(row(&[inputs.number(key)?], [1])) };
    let (x, reconstruction) = (images("x")?, images("recon")?);
    let mse = Reconstruction::Mse.error(x.clone(), reconstruction.clone());
    let lpips = list("lpips_per_sample")?.mean() * inputs.number("perceptual_weight")?;
    let logvar = number("logvar")?.autodiff().require_grad();
    let found = ldm_loss(
        x.autodiff(),
        reconstruction.autodiff(),
        Some(lpips.autodiff()),
        logvar.clone(),
        list("kl_per_sample")?.autodiff(),
        inputs.number("kl_weight")?,
    );
    let adversarial = inputs.number("d_weight")? * inputs.number("disc_factor")? * inputs.number("g_loss")?;
    let gradient = logvar.grad(&found.nll.backward());
    let gradient = gradient.ok_or_else(|| Error::argument("gradient", "one of the likelihood", "none"))?;
    Ok(Found::new()
        .number("rec_l1_mean", scalar(found.reconstruction))
        .number("rec_mse_mean", scalar(mse))
        .number("nll", scalar(found.nll))
        .number("kl", scalar(found.kl))
        .number("total", scalar(found.total) + adversarial)
        .number("dnll_dlogvar", scalar(gradient)))
}

pub fn gan_losses(inputs: Inputs) -> Result<Found> {
    let logits = |key: &str| -> Result<Tensor<4>> { Ok(samples(&inputs.list(key)?)) };
    let (real, fake) = (logits("logits_real")?, logits("logits_fake")?);
    Ok(Found::new()
        .number("hinge_d", scalar(gan::hinge(real.clone(), fake.clone())))
        .number("vanilla_d", scalar(gan::vanilla(real, fake.clone())))
        .number("g", scalar(gan::generator(fake))))
}

pub fn adaptive_weight(inputs: Inputs) -> Result<Found> {
    let (nll, g) = (inputs.list("grad_nll")?, inputs.list("grad_g")?);
    Ok(Found::new().number("d_weight", gan::adaptive_weight(&nll, &g, inputs.number("disc_weight")?)))
}

pub fn lpips_layer(inputs: Inputs) -> Result<Found> {
    let of_paper: fn(Tensor<4>, f64) -> Tensor<4> = lpips::unit_length;
    let unit_length = inputs.choice(
        "normalise",
        &[("norm_plus_eps", of_paper), ("sqrt_of_sum_plus_eps", reference::unit_length_of_torchmetrics)],
    )?;
    let features = |key: &str| -> Result<Tensor<4>> { Ok(tensor::<3>(&inputs.array(key)?)?.unsqueeze()) };
    let eps = inputs.number("eps")?;
    let (f, g) = (unit_length(features("feat0")?, eps), unit_length(features("feat1")?, eps));
    let distance = lpips::layer_distance(f, g, tensor(&inputs.array("weight")?)?);
    Ok(Found::new().number("distance", scalar(distance)))
}

pub fn lpips_input(inputs: Inputs) -> Result<Found> {
    let x = inputs.list("x")?;
    let picture = row::<4>(&x.repeat(3), [1, 3, 1, x.len()]);
    let scaled = values(lpips::scale_input(picture));
    let channel = |c: usize| &scaled[c * x.len()..][..x.len()];
    Ok(Found::new().list("red", channel(0)).list("green", channel(1)).list("blue", channel(2)))
}
