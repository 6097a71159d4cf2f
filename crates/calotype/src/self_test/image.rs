//! Pixel errors, SSIM, 8 bits.

use super::arrays::{Array, array};
use super::case::{Found, Inputs};
use super::reference::Quantisation;
use crate::error::{Error, Result};
use crate::evaluate::pixel::{Plane, pixel_error, psnr};
use crate::evaluate::ssim::{self as similarity, Border, Covariance, SsimOptions, Window};

fn plane(image: Array) -> Result<Plane> {
    Plane::new(image.rows(), image.columns(), image.values)
}

fn pair(inputs: Inputs) -> Result<(Plane, Plane)> {
    Ok((plane(inputs.array("x")?)?, plane(inputs.array("y")?)?))
}

fn options(inputs: Inputs) -> Result<SsimOptions> {
    let options = inputs.object("options")?;
    let size = options.integer("size")?;
    Ok(SsimOptions {
        window: if options.choice("window", &[("gaussian", true), ("uniform", false)])? {
            Window::Gaussian { size, sigma: options.number("sigma")? }
        } else {
            Window::Uniform { size }
        },
        border: options.choice("border", &[("valid", Border::Valid), ("reflect", Border::Reflect)])?,
        covariance: options.choice(
            "covariance",
            &[("population", Covariance::Population), ("sample", Covariance::Sample)],
        )?,
        k1: options.number("k1")?,
        k2: options.number("k2")?,
    })
}

pub fn error(inputs: Inputs) -> Result<Found> {
    let (x, y) = pair(inputs)?;
    let found = pixel_error(&x, &y, inputs.number("data_range")?)?;
    Ok(Found::new().number("mse", found.mse).number("mae", found.mae).number("psnr_db", found.psnr_db))
}

pub fn ssim(inputs: Inputs) -> Result<Found> {
    let (x, y) = pair(inputs)?;
    let map = similarity::ssim_map(&x, &y, inputs.number("data_range")?, &options(inputs)?)?;
    Ok(Found::new().number("mean", similarity::mean(&map)).number("map_00", map.values()[0]))
}

pub fn ssim_channels(inputs: Inputs) -> Result<Found> {
    let channels = |key: &str| -> Result<Vec<Plane>> {
        let list =
            inputs.get(key)?.as_array().ok_or_else(|| Error::argument(key, "a list", "another value"))?;
        list.iter().map(|channel| plane(array(channel)?)).collect()
    };
    let (x, y, range) = (channels("x")?, channels("y")?, inputs.number("data_range")?);
    let found = similarity::ssim_channels(&x, &y, range, &options(inputs)?)?;
    Ok(Found::new().list("per_channel", &found.per_channel).number("mean", found.mean))
}

pub fn psnr_aggregate(inputs: Inputs) -> Result<Found> {
    let (mse, range) = (inputs.list("mse_per_image")?, inputs.number("data_range")?);
    if mse.is_empty() {
        return Err(Error::argument("mse_per_image", "at least one image", "none"));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let each = mse.iter().map(|&mse| psnr(mse, range)).collect::<Result<Vec<f64>>>()?;
    Ok(Found::new().number("mean_of_psnr", mean(&each)).number("psnr_of_mean_mse", psnr(mean(&mse), range)?))
}

pub fn quantise(inputs: Inputs) -> Result<Found> {
    let rule = inputs.choice(
        "rule",
        &[
            ("truncate", Quantisation::Truncate),
            ("scale_127_5_plus_128", Quantisation::Scale127_5Plus128),
            ("half_up", Quantisation::HalfUp),
            ("half_even", Quantisation::HalfEven),
        ],
    )?;
    let levels: Vec<u8> = inputs.list("x")?.into_iter().map(|x| rule.level(x)).collect();
    Ok(Found::new().list("u8", &levels))
}
