//! Numbers for tests.

/// `n` numbers between −1 and 1 that repeat nothing nearby, others for each seed.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) as f32 / 32768.0 - 1.0)
        .collect()
}
