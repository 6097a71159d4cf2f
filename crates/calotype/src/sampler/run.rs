//! Where a run begins, and what may happen to x between its steps.

use burn::tensor::Tensor;

use crate::{Error, Result};

/// What x is made of: `signal`·x₀ + `noise`·ε, in the coordinates of a sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Factor of the picture.
    pub signal: f64,
    /// Factor of the noise.
    pub noise: f64,
}

impl Level {
    /// The clean end.
    pub const CLEAN: Self = Self { signal: 1.0, noise: 0.0 };

    /// x₀ + σ·ε.
    pub fn of_sigma(sigma: f64) -> Self {
        Self { signal: 1.0, noise: sigma }
    }

    /// √ᾱ·x₀ + √(1−ᾱ)·ε.
    pub fn of_alpha_bar(alpha_bar: f64) -> Self {
        Self { signal: alpha_bar.sqrt(), noise: (1.0 - alpha_bar).sqrt() }
    }

    /// (1−t)·x₀ + t·ε.
    pub fn of_flow_time(t: f64) -> Self {
        Self { signal: 1.0 - t, noise: t }
    }

    /// The picture `x_0` under `noise`, both `[B, C, H, W]`.
    pub fn mix(self, x_0: &Tensor<4>, noise: &Tensor<4>) -> Tensor<4> {
        x_0.clone() * self.signal + noise.clone() * self.noise
    }
}

/// Where a run begins.
#[allow(clippy::large_enum_variant, reason = "a run has one")]
#[derive(Debug, Clone)]
pub enum Start {
    /// From unit noise `[B, C, H, W]`, with every step.
    Noise(Tensor<4>),
    /// From a picture under noise, without the first steps: image to image. Meng et al. 2022 (SDEdit),
    /// arXiv:2108.01073, Algorithm 1.
    Picture {
        /// Scaled latents, `[B, C, H, W]`.
        x_0: Tensor<4>,
        /// Unit noise of the same shape.
        noise: Tensor<4>,
        /// Steps left out: all but `strength` of them, [`skipped_steps`].
        skipped: usize,
    },
}

/// Steps that image to image leaves out: of `steps`, the first steps − ⌊`strength`·steps⌋, as diffusers.
///
/// # Errors
/// `Error::Argument` unless `strength` is in (0, 1] and leaves at least one step.
pub fn skipped_steps(steps: usize, strength: f64) -> Result<usize> {
    if !(strength > 0.0 && strength <= 1.0) {
        return Err(Error::argument("strength", "above 0, at most 1", strength));
    }
    match (steps as f64 * strength) as usize {
        0 => {
            let expected = format!("at least 1/{steps}, so that one of the {steps} steps is left");
            Err(Error::argument("strength", expected, strength))
        }
        taken => Ok(steps - taken.min(steps)),
    }
}

/// Steps that image to image leaves out with Flux: of `steps`, the first ⌊steps − `strength`·steps⌋, as diffusers. Where
/// that is no whole number, it is one step less than [`skipped_steps`].
///
/// # Errors
/// As [`skipped_steps`].
pub fn skipped_flux_steps(steps: usize, strength: f64) -> Result<usize> {
    if !(strength > 0.0 && strength <= 1.0) {
        return skipped_steps(steps, strength);
    }
    let taken = (steps as f64 * strength).min(steps as f64);
    Ok(((steps as f64 - taken) as usize).min(steps.saturating_sub(1)))
}

/// Sees, and may change, x after every step.
pub trait AfterStep {
    /// x `[B, C, H, W]` at `level`, after `done` of `steps` steps. An error ends the run.
    fn after_step(&mut self, x: Tensor<4>, level: Level, done: usize, steps: usize) -> Result<Tensor<4>>;
}

impl<F: FnMut(Tensor<4>, Level, usize, usize) -> Result<Tensor<4>>> AfterStep for F {
    fn after_step(&mut self, x: Tensor<4>, level: Level, done: usize, steps: usize) -> Result<Tensor<4>> {
        self(x, level, done, steps)
    }
}

/// Tells how many steps are done; x stays as it is.
pub(super) struct StepCount<'a>(pub &'a mut dyn FnMut(usize, usize));

impl AfterStep for StepCount<'_> {
    fn after_step(&mut self, x: Tensor<4>, _: Level, done: usize, steps: usize) -> Result<Tensor<4>> {
        (self.0)(done, steps);
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn strength_is_the_share_of_steps_that_are_taken() {
        for (steps, strength, skipped) in
            [(50, 0.8, 10), (20, 0.6, 8), (20, 1.0, 0), (30, 0.75, 8), (3, 0.34, 2)]
        {
            assert_eq!(skipped_steps(steps, strength).unwrap(), skipped);
        }
        for strength in [0.0, -0.5, 1.1, f64::NAN, 0.01] {
            assert_refuses(skipped_steps(20, strength), "strength: expected");
        }
        for (steps, strength, skipped) in
            [(8, 0.6, 3), (10, 0.45, 5), (20, 0.6, 8), (4, 0.01, 3), (4, 1.0, 0)]
        {
            assert_eq!(skipped_flux_steps(steps, strength).unwrap(), skipped);
        }
        for strength in [0.0, -0.5, 1.1, f64::NAN] {
            assert_refuses(skipped_flux_steps(20, strength), "strength: expected");
        }
    }
}
