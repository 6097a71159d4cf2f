//! Muon: a momentum whose singular values are all made alike, for the matrices of hidden layers; AdamW for the rest.
//!
//! Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

use calotype_kernels::flushed;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};

use super::{Moment, Slot, Step, adamw, clipping};

/// Newton-Schulz steps; the coefficients of Jordan et al. bring singular values of 0.001 to 1 near 1 within five.
const ITERATIONS: usize = 5;
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Parts of the names of matrices that are no hidden layer's: they meet one-hot words, pictures and times, or end the
/// network.
const NOT_HIDDEN: [&str; 3] = ["embedding", "conv_in.", "conv_out."];

/// m of a hidden layer's matrix, m and v of everything else; zero.
pub(super) fn moments(name: &str, shape: &[usize]) -> Vec<Moment> {
    if is_hidden(name, shape) { vec![Moment::zero("m", shape)] } else { adamw::moments(shape) }
}

/// Whether a parameter is the matrix, or the kernels `[out, in, …]`, of a hidden layer.
fn is_hidden(name: &str, shape: &[usize]) -> bool {
    shape.len() > 1 && !NOT_HIDDEN.iter().any(|part| name.contains(part))
}

/// m ← μm + (1−μ)g, u = μm + (1−μ)g, θ ← θ − η′ (√max(1, rows/columns)·UVᵀ + λθ), where u = USVᵀ and η′ is
/// [`hidden_rate`](super::OptimizerConfig::hidden_rate) learning rates. A kernel `[out, in, h, w]` is a matrix
/// `[out, in·h·w]`.
pub(super) fn update(step: &Step, slot: &mut Slot, gradient: &[f32]) {
    let [m] = slot.moments.as_mut_slice() else { return adamw::update(step, slot, gradient) };
    let (momentum, hidden_rate) = (step.config.momentum(), step.config.hidden_rate());
    let (keep_m, rest) = (momentum as f32, (1.0 - momentum) as f32);
    let look_ahead = m.values.iter_mut().zip(gradient).map(|(m, g)| {
        let g = g * step.clip;
        *m = flushed(keep_m * *m + rest * g);
        keep_m * *m + rest * g
    });
    let look_ahead: Vec<f32> = look_ahead.collect();
    let rows = slot.shape[0];
    let columns = look_ahead.len() / rows.max(1);
    let direction = orthogonalized(&look_ahead, rows, columns);
    let rate = step.learning_rate * hidden_rate;
    let keep = (1.0 - rate * step.weight_decay(slot)) as f32;
    let rate = (rate * (rows as f64 / columns as f64).max(1.0).sqrt()) as f32;
    slot.value.iter_mut().zip(&direction).for_each(|(value, u)| *value = *value * keep - rate * u);
}

/// About UVᵀ of the matrix `[rows, columns]` = USVᵀ, row by row: all singular values that are not tiny become 0.7 to
/// 1.2. A matrix of zeros stays.
fn orthogonalized(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let norm = clipping::sum_of_squares(values).sqrt();
    let scale = if norm > 0.0 { (1.0 / norm) as f32 } else { 0.0 };
    let given = MatRef::from_row_major_slice(values, rows, columns);
    // X Xᵀ is the smaller of both products where X is wide.
    let wide = rows <= columns;
    let given = if wide { given } else { given.transpose() };
    let mut x = Mat::from_fn(given.nrows(), given.ncols(), |i, j| given[(i, j)] * scale);
    for _ in 0..ITERATIONS {
        x = newton_schulz(&x);
    }
    let x = if wide { x.as_ref() } else { x.transpose() };
    let mut out = vec![0.0; values.len()];
    MatMut::from_row_major_slice_mut(&mut out, rows, columns).copy_from(x);
    out
}

/// (aI + bA + cA²)X with A = XXᵀ. On one thread: threads share the parameters.
fn newton_schulz(x: &Mat<f32>) -> Mat<f32> {
    let [a, b, c] = COEFFICIENTS;
    let product = |left: MatRef<f32>, right: MatRef<f32>| {
        let mut out = Mat::<f32>::zeros(left.nrows(), right.ncols());
        matmul(out.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
        out
    };
    let gram = product(x.as_ref(), x.transpose());
    let square = product(gram.as_ref(), gram.as_ref());
    let polynomial = Mat::from_fn(gram.nrows(), gram.ncols(), |i, j| {
        let identity = if i == j { a } else { 0.0 };
        identity + b * gram[(i, j)] + c * square[(i, j)]
    });
    product(polynomial.as_ref(), x.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn an_orthogonalized_matrix_has_singular_values_near_one() {
        for [rows, columns] in [[8, 8], [5, 40], [40, 5], [1, 9]] {
            let mut rng = Philox::new(1, Purpose::Weights, (rows * 100 + columns) as u64);
            let values = rng.normals(rows * columns);
            let found = orthogonalized(&values, rows, columns);
            let found = MatRef::from_row_major_slice(&found, rows, columns);
            let singular = found.to_owned().singular_values().unwrap();
            // The square one has a small singular value, which needs more steps than the others.
            let least = if rows == columns { 0.05 } else { 0.65 };
            assert!(singular.iter().all(|s| (least..1.25).contains(s)), "{rows} x {columns}: {singular:?}");
            // It points where the matrix does: their inner product is the sum of its singular values, about.
            let given = MatRef::from_row_major_slice(&values, rows, columns);
            let nuclear: f32 = given.to_owned().singular_values().unwrap().iter().sum();
            let inner: f32 = (0..rows)
                .flat_map(|i| (0..columns).map(move |j| (i, j)))
                .map(|at| given[at] * found[at])
                .sum();
            assert!((0.65..1.25).contains(&(inner / nuclear)), "{inner} {nuclear}");
        }
        assert_eq!(orthogonalized(&[0.0; 6], 2, 3), [0.0; 6]);
    }

    #[test]
    fn hidden_layers_are_told_by_name_and_shape() {
        let hidden = |name: &str, shape: &[usize]| is_hidden(name, shape);
        assert!(hidden("denoiser.down_blocks.0.resnets.0.conv1.weight", &[8, 8, 3, 3]));
        assert!(hidden("text_encoder.text_model.encoder.layers.0.mlp.fc1.weight", &[8, 4]));
        assert!(!hidden("denoiser.down_blocks.0.resnets.0.conv1.bias", &[8]));
        assert!(!hidden("denoiser.conv_in.weight", &[8, 4, 3, 3]));
        assert!(!hidden("denoiser.time_embedding.linear_1.weight", &[8, 8]));
        assert!(!hidden("text_model.embeddings.token_embedding.weight", &[8, 8]));
    }
}
