//! Fréchet distance, its error and its bias.

use super::arrays::Array;
use super::case::{Found, Inputs};
use super::reference;
use crate::error::Result;
use crate::evaluate::feature_statistics::FeatureStatistics;
use crate::evaluate::frechet::{FrechetDistance, frechet_distance};
use crate::evaluate::gaussian::Gaussian;
use crate::evaluate::{fid_infinity as line, frechet_uncertainty};

fn distance(found: FrechetDistance) -> Found {
    Found::new()
        .number("frechet", found.frechet)
        .number("mean_term", found.mean_term)
        .number("trace_sum", found.trace_sum)
        .number("tr_sqrt", found.tr_sqrt)
}

pub fn gaussian(inputs: Inputs) -> Result<Found> {
    let side = |mean: &str, covariance: &str| -> Result<Gaussian> {
        Gaussian::from_moments(&inputs.list(mean)?, &inputs.list(covariance)?)
    };
    Ok(distance(frechet_distance(&side("mu1", "sigma1")?, &side("mu2", "sigma2")?)?))
}

pub fn features(inputs: Inputs) -> Result<Found> {
    let side = |key: &str| -> Result<Gaussian> {
        let rows = inputs.array(key)?;
        Gaussian::from_rows(&rows.values, rows.columns())
    };
    Ok(distance(frechet_distance(&side("x")?, &side("y")?)?))
}

pub fn moments_merge(inputs: Inputs) -> Result<Found> {
    let x = inputs.array("x")?;
    let d = x.columns();
    let mut all = FeatureStatistics::new(d);
    let mut first = 0;
    for rows in inputs.integers("chunks")? {
        let mut part = FeatureStatistics::new(d);
        for row in x.values[first * d..(first + rows) * d].chunks(d) {
            part.push(row)?;
        }
        all.merge(&part)?;
        first += rows;
    }
    let sigma = Array { shape: vec![d, d], values: all.covariance()? };
    Ok(Found::new().list("mu", all.mean()).array("sigma", &sigma))
}

pub fn standard_error(inputs: Inputs) -> Result<Found> {
    let (x, y) = (inputs.array("x")?, inputs.array("y")?);
    let found = frechet_uncertainty::standard_error(&x.values, &y.values, x.columns())?;
    let bias = found.distance.first_order_bias_generated.unwrap_or(f64::NAN); // rows have an n
    Ok(Found::new()
        .number("frechet", found.distance.frechet)
        .number("se_from_x", found.from_generated)
        .number("se_from_y", found.from_reference)
        .number("first_order_bias_x", bias))
}

pub fn null_bias(inputs: Inputs) -> Result<Found> {
    let bias = reference::null_bias(&inputs.list("eigenvalues")?, inputs.integer("n")?)?;
    Ok(Found::new().number("bias_one_sided", bias))
}

pub fn fid_infinity(inputs: Inputs) -> Result<Found> {
    let line = line::fid_infinity(&inputs.integers("n")?, &inputs.list("fid")?)?;
    Ok(Found::new()
        .number("intercept", line.intercept)
        .number("slope", line.slope)
        .number("residual_sum_sq", line.residual_sum_sq)
        .number("intercept_stderr", line.intercept_stderr))
}
