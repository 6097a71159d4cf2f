//! Muon: a momentum whose singular values are all made alike, for the matrices of hidden layers; AdamW for the rest.
//!
//! Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

use calotype_kernels::memory::Buffer;
use calotype_kernels::newton_schulz::orthogonalized;
use calotype_kernels::{Isa, flushed};

use super::{Moment, OptimizerConfig, Slot, Step, adamw};

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

/// What the update of a parameter costs, in numbers that AdamW updates: about 200 operations take as long as one of these.
pub(super) fn work(name: &str, shape: &[usize]) -> usize {
    let length: usize = shape.iter().product();
    if !is_hidden(name, shape) || length == 0 {
        return length;
    }
    let (rows, columns) = (shape[0], length / shape[0]);
    let (short, long) = (rows.min(columns), rows.max(columns));
    // Of each number of X, and of the square matrices that its Gram matrix becomes.
    length + length * short * (6 * long + 14 * short) / long / 200
}

/// m ← μm + (1−μ)g, u = μm + (1−μ)g, θ ← θ − η′ (√max(1, rows/columns)·UVᵀ + λθ), where u = USVᵀ and η′ is
/// [`hidden_rate`](super::OptimizerConfig::hidden_rate) learning rates. A kernel `[out, in, h, w]` is a matrix
/// `[out, in·h·w]`.
pub(super) fn update(step: &Step, slot: &mut Slot, gradient: &[f32]) {
    let [m] = slot.moments.as_mut_slice() else { return adamw::update(step, slot, gradient) };
    let momentum = step.config.momentum();
    let (keep_m, rest) = (momentum as f32, (1.0 - momentum) as f32);
    let mut look_ahead = Buffer::any(gradient.len());
    for ((u, m), g) in look_ahead.iter_mut().zip(&mut m.values).zip(gradient) {
        let g = g * step.clip;
        *m = flushed(keep_m * *m + rest * g);
        *u = keep_m * *m + rest * g;
    }
    let rows = slot.shape[0];
    let columns = gradient.len() / rows.max(1);
    // On one thread: threads share the parameters.
    let direction = orthogonalized(Isa::best(), look_ahead, rows, columns);
    let decay = slot.weight_decay(step.config);
    let (rate, keep) = rates(step.config, step.learning_rate, decay, [rows, columns]);
    slot.value.iter_mut().zip(&*direction).for_each(|(value, u)| *value = *value * keep - rate * u);
}

/// η′·√max(1, rows/columns), and what a step keeps of the weights, 1 − η′λ.
pub(super) fn rates(
    config: &OptimizerConfig,
    learning_rate: f64,
    weight_decay: f64,
    [rows, columns]: [usize; 2],
) -> (f32, f32) {
    let rate = learning_rate * config.hidden_rate();
    let keep = (1.0 - rate * weight_decay) as f32;
    ((rate * (rows as f64 / columns as f64).max(1.0).sqrt()) as f32, keep)
}

#[cfg(test)]
mod tests {
    use faer::MatRef;

    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn an_orthogonalized_matrix_has_singular_values_near_one() {
        for [rows, columns] in [[8, 8], [5, 40], [40, 5], [1, 9]] {
            let mut rng = Philox::new(1, Purpose::Weights, (rows * 100 + columns) as u64);
            let values = rng.normals(rows * columns);
            let found = orthogonalized(Isa::best(), Buffer::copy_of(&values), rows, columns);
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
        assert_eq!(orthogonalized(Isa::best(), Buffer::zeros(6), 2, 3)[..], [0.0; 6]);
    }

    #[test]
    fn a_long_matrix_is_more_work_than_its_numbers() {
        assert_eq!(work("layer.bias", &[128]), 128);
        assert_eq!(work("token_embedding.weight", &[900, 128]), 900 * 128);
        assert_eq!(work("layer.weight", &[200, 200]), 21 * 200 * 200);
        assert_eq!(work("layer.weight", &[1000, 100]), work("layer.weight", &[100, 1000]));
        assert_eq!(work("layer.weight", &[0, 4]), 0);
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
