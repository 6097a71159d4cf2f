//! Inception Score.

use super::case::{Found, Inputs};
use crate::error::{Error, Result};
use crate::evaluate::inception_score::{InceptionScore, SplitRule, from_logits, from_probabilities};

fn rule(inputs: Inputs) -> Result<SplitRule> {
    inputs.choice(
        "rule",
        &[
            ("balanced", SplitRule::Balanced),
            ("drop", SplitRule::Drop),
            ("ceil", SplitRule::Ceil),
            ("size", SplitRule::Size),
        ],
    )
}

fn found(score: InceptionScore) -> Found {
    let found = Found::new()
        .number("mean", score.mean)
        .number("std", score.std)
        .number("n_chunks", score.n_chunks as f64);
    match score.std_ddof1 {
        Some(std) => found.number("std_ddof1", std),
        None => found,
    }
}

pub fn probabilities(inputs: Inputs) -> Result<Found> {
    let p = inputs.array("probs")?;
    Ok(found(from_probabilities(&p.values, p.columns(), inputs.integer("splits")?, rule(inputs)?)?))
}

pub fn logits(inputs: Inputs) -> Result<Found> {
    let logits = inputs.array("logits")?;
    let classes = logits.columns();
    let bias = if inputs.has("bias") { inputs.list("bias")? } else { vec![0.0; classes] };
    let order = if inputs.has("permutation") {
        inputs.integers("permutation")?
    } else {
        (0..logits.rows()).collect()
    };
    if bias.len() != classes || order.iter().any(|&row| row >= logits.rows()) {
        return Err(Error::shape(
            "bias and permutation",
            "one number a class, rows that are there",
            bias.len(),
        ));
    }
    let row = |r: usize| logits.values[r * classes..][..classes].iter().zip(&bias).map(|(v, b)| v + b);
    let rows: Vec<f64> = order.into_iter().flat_map(row).collect();
    Ok(found(from_logits(&rows, classes, inputs.integer("splits")?, rule(inputs)?)?))
}
