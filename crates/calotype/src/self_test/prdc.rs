//! Precision, recall, density, coverage.

use super::case::{Found, Inputs};
use super::kid::side;
use crate::error::Result;
use crate::evaluate::prdc::{BallRule, prdc as measure};

pub fn prdc(inputs: Inputs) -> Result<Found> {
    let rule = inputs.choice("rule", &[("lt", BallRule::Lt), ("le", BallRule::Le)])?;
    let found = measure(&side(inputs, "fake")?, &side(inputs, "real")?, inputs.integer("k")?, rule)?;
    Ok(Found::new()
        .number("precision", found.precision)
        .number("recall", found.recall)
        .number("density", found.density)
        .number("coverage", found.coverage))
}
