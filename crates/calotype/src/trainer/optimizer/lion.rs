//! Lion: evolved sign momentum.
//!
//! Chen et al. 2023, arXiv:2302.06675, algorithm 2.

use calotype_kernels::flushed;

use super::{Moment, Slot, Step};

/// m, zero.
pub(super) fn moments(shape: &[usize]) -> Vec<Moment> {
    vec![Moment::zero("m", shape)]
}

/// θ ← θ − η (sign(β₁m + (1−β₁)g) + λθ), then m ← β₂m + (1−β₂)g.
///
/// Every weight moves by η: the authors take an η 3 to 10 times smaller than AdamW's, and a λ larger by as
/// much.
pub(super) fn update(step: &Step, slot: &mut Slot, gradient: &[f32]) {
    let keep = (1.0 - step.learning_rate * slot.weight_decay(step.config)) as f32;
    let rate = step.learning_rate as f32;
    let [beta_1, beta_2] = step.config.betas();
    let [rest_1, rest_2] = [(1.0 - beta_1) as f32, (1.0 - beta_2) as f32];
    let (beta_1, beta_2) = (beta_1 as f32, beta_2 as f32);

    let [m] = slot.moments.as_mut_slice() else { unreachable!("`moments` made one") };
    for ((value, m), g) in slot.value.iter_mut().zip(&mut m.values).zip(gradient) {
        let g = g * step.clip;
        *value = *value * keep - rate * sign(beta_1 * *m + rest_1 * g);
        *m = flushed(beta_2 * *m + rest_2 * g);
    }
}

/// −1, 0 or 1; `f32::signum` has no 0, and a weight that the loss does not reach would drift.
fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
