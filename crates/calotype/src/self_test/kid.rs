//! Kernel distances.

use super::case::{Found, Inputs};
use crate::error::{Error, Result};
use crate::evaluate::features::Features;
use crate::evaluate::kid::{Kernel, KidOfSubsets, kernel_distance, kid_of_random_subsets, kid_of_subsets};

/// A matrix of feature vectors.
pub fn side(inputs: Inputs, key: &str) -> Result<Features> {
    let rows = inputs.array(key)?;
    Features::new(&rows.values, rows.columns())
}

pub fn kid(inputs: Inputs) -> Result<Found> {
    let distance = kernel_distance(&side(inputs, "x")?, &side(inputs, "y")?, Kernel::Cubic)?;
    let found = Found::new().number("unbiased", distance.unbiased).number("biased", distance.biased);
    Ok(match distance.u_statistic {
        Some(value) => found.number("u_statistic", value),
        None => found,
    })
}

pub fn cmmd(inputs: Inputs) -> Result<Found> {
    let kernel = Kernel::Gaussian { sigma: inputs.number("sigma")? };
    let distance = kernel_distance(&side(inputs, "x")?, &side(inputs, "y")?, kernel)?;
    let scale = inputs.number("scale")?;
    Ok(Found::new().number("unbiased", scale * distance.unbiased).number("biased", scale * distance.biased))
}

fn of_subsets(kid: KidOfSubsets) -> Found {
    let found = Found::new().list("values", &kid.values).number("mean", kid.mean).number("std", kid.std);
    match kid.std_ddof1 {
        Some(std) => found.number("std_ddof1", std),
        None => found,
    }
}

pub fn subsets(inputs: Inputs) -> Result<Found> {
    let lists = |key: &str| -> Result<Vec<Vec<usize>>> {
        let lists =
            inputs.get(key)?.as_array().ok_or_else(|| Error::argument(key, "a list", "another value"))?;
        lists.iter().map(|list| Inputs(&serde_json::json!({ "rows": list })).integers("rows")).collect()
    };
    let (x, y) = (side(inputs, "x")?, side(inputs, "y")?);
    Ok(of_subsets(kid_of_subsets(&x, &y, &lists("subsets_x")?, &lists("subsets_y")?)?))
}

pub fn random_subsets(inputs: Inputs) -> Result<Found> {
    let (x, y) = (side(inputs, "x")?, side(inputs, "y")?);
    let (size, n) = (inputs.integer("subset_size")?, inputs.integer("n_subsets")?);
    let seed = inputs.integer("seed")?;
    let seed = u32::try_from(seed).map_err(|_| Error::argument("seed", "32 bits", seed))?;
    Ok(of_subsets(kid_of_random_subsets(&x, &y, size, n, seed)?))
}
