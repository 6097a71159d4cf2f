//! Adafactor: second moments by rows and columns, in place of one for every weight.
//!
//! Shazeer & Stern 2018, arXiv:1804.04235, algorithm 4 (matrices) and 5 (vectors), without first moment and
//! with a learning rate of the recipe.

use super::{Moment, Slot, Step};

/// ε₁: added to the squared gradient.
const EPSILON_1: f64 = 1e-30;
/// ε₂: least root mean square that a rate is relative to.
const EPSILON_2: f64 = 1e-3;
/// d: largest root mean square of an update.
const CLIP_THRESHOLD: f64 = 1.0;
/// β₂ₙ = 1 − n^`DECAY_EXPONENT` in step n (section 7.2).
const DECAY_EXPONENT: f64 = -0.8;

/// For two or more dimensions the means over the last dimension (`row`) and over the last but one (`column`);
/// else the whole second moment `v`. Zero.
///
/// As transformers' `Adafactor` does, a kernel `[o, i, k, k]` is o·i matrices `[k, k]`: state
/// `[o, i, k]` twice. Memory is saved in linear layers; of 3 × 3 kernels two thirds of `v` stay, and of
/// 1 × 1 kernels it is twice as much.
pub(super) fn moments(shape: &[usize]) -> Vec<Moment> {
    match shape {
        [outer @ .., rows, columns] => vec![
            Moment::zero("row", &[outer, &[*rows]].concat()),
            Moment::zero("column", &[outer, &[*columns]].concat()),
        ],
        _ => vec![Moment::zero("v", shape)],
    }
}

/// U = G/√V̂ with V̂ from `row` and `column`, divided by max(1, RMS(U)/d); then θ ← θ − α (U + λθ).
///
/// α is η·max(ε₂, RMS(θ)) with `scale_parameter`, else η. λ, which the paper does not have, is as in
/// transformers, but 0 for vectors.
pub(super) fn update(step: &Step, slot: &mut Slot, gradient: &[f32]) {
    if gradient.is_empty() {
        return;
    }
    let relative_to =
        if step.config.scale_parameter() { root_mean_square(&slot.value).max(EPSILON_2) } else { 1.0 };
    let rate = step.learning_rate * relative_to;
    let keep = (1.0 - rate * slot.weight_decay(step.config)) as f32;
    let beta_2 = 1.0 - step.n.powf(DECAY_EXPONENT);

    let mut update: Vec<f32> = gradient.iter().map(|g| g * step.clip).collect();
    match (slot.moments.as_mut_slice(), slot.shape.as_slice()) {
        ([row, column], &[.., rows, columns]) => {
            divide_by_factored_root(&mut update, &mut row.values, &mut column.values, beta_2, rows, columns);
        }
        ([v], _) => divide_by_root(&mut update, &mut v.values, beta_2),
        _ => unreachable!("`moments` made one or two"),
    }
    let scale = (rate / (root_mean_square(&update) / CLIP_THRESHOLD).max(1.0)) as f32;
    for (value, u) in slot.value.iter_mut().zip(&update) {
        *value = *value * keep - scale * u;
    }
}

/// V ← β₂V + (1 − β₂)(G² + ε₁), G ← G/√V.
fn divide_by_root(gradient: &mut [f32], v: &mut [f32], beta_2: f64) {
    for (g, v) in gradient.iter_mut().zip(v) {
        *v = average(*v, f64::from(*g).powi(2) + EPSILON_1, beta_2);
        *g /= v.sqrt();
    }
}

/// R ← β₂R + (1 − β₂)·(mean of G² + ε₁ over each row), C by columns, G ← G/√(R Cᵀ/mean R); for each matrix
/// `[rows, columns]` of a tensor.
fn divide_by_factored_root(
    gradient: &mut [f32],
    row: &mut [f32],
    column: &mut [f32],
    beta_2: f64,
    rows: usize,
    columns: usize,
) {
    let matrices = gradient.chunks_exact_mut(rows * columns);
    let factors = row.chunks_exact_mut(rows).zip(column.chunks_exact_mut(columns));
    for (matrix, (row, column)) in matrices.zip(factors) {
        let mut column_sums = vec![0.0f64; columns];
        for (line, r) in matrix.chunks_exact(columns).zip(row.iter_mut()) {
            let squares = line.iter().map(|&g| f64::from(g).powi(2) + EPSILON_1);
            let row_sum: f64 = squares.zip(&mut column_sums).map(|(square, sum)| add(sum, square)).sum();
            *r = average(*r, row_sum / columns as f64, beta_2);
        }
        for (c, sum) in column.iter_mut().zip(column_sums) {
            *c = average(*c, sum / rows as f64, beta_2);
        }
        let mean = (row.iter().map(|&r| f64::from(r)).sum::<f64>() / rows as f64) as f32;
        let column: Vec<f32> = column.iter().map(|c| 1.0 / c.sqrt()).collect();
        for (line, r) in matrix.chunks_exact_mut(columns).zip(row.iter()) {
            let r = 1.0 / (r / mean).sqrt();
            line.iter_mut().zip(&column).for_each(|(g, c)| *g *= r * c);
        }
    }
}

/// Adds `square` to `sum` and hands it on.
fn add(sum: &mut f64, square: f64) -> f64 {
    *sum += square;
    square
}

/// β₂·`moment` + (1 − β₂)·`new`.
fn average(moment: f32, new: f64, beta_2: f64) -> f32 {
    beta_2 as f32 * moment + (1.0 - beta_2) as f32 * new as f32
}

fn root_mean_square(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}
