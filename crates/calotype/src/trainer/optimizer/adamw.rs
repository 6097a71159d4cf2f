//! AdamW: Adam with decoupled weight decay.
//!
//! Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.

use calotype_kernels::flushed;

use super::{Moment, Slot, Step};

/// m and v, zero.
pub(super) fn moments(shape: &[usize]) -> Vec<Moment> {
    vec![Moment::zero("m", shape), Moment::zero("v", shape)]
}

/// m = β₁m + (1−β₁)g, v = β₂v + (1−β₂)g², θ ← θ − η (m̂/(√v̂ + ε) + λθ), with m̂ = m/(1−β₁ⁿ) and
/// v̂ = v/(1−β₂ⁿ) after n steps.
///
/// As `torch.optim.AdamW`, but that λ is 0 for vectors, which torch would decay too unless they are put into
/// a group of their own.
pub(super) fn update(step: &Step, slot: &mut Slot, gradient: &[f32]) {
    let keep = (1.0 - step.learning_rate * slot.weight_decay(step.config)) as f32;
    let [beta_1, beta_2] = step.config.betas();
    let step_size = (step.learning_rate / (1.0 - beta_1.powf(step.n))) as f32;
    let root_correction = (1.0 / (1.0 - beta_2.powf(step.n)).sqrt()) as f32;
    let epsilon = step.config.epsilon() as f32;
    let (beta_1, beta_2) = (beta_1 as f32, beta_2 as f32);

    let [m, v] = slot.moments.as_mut_slice() else { unreachable!("`moments` made two") };
    let moments = m.values.iter_mut().zip(&mut v.values);
    for ((value, (m, v)), g) in slot.value.iter_mut().zip(moments).zip(gradient) {
        let g = g * step.clip;
        // The moments of a weight that has no gradient any more would end as subnormal numbers, and stay there.
        *m = flushed(beta_1 * *m + (1.0 - beta_1) * g);
        *v = flushed(beta_2 * *v + (1.0 - beta_2) * g * g);
        *value = *value * keep - step_size * *m / (v.sqrt() * root_correction + epsilon);
    }
}
