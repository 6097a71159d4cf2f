//! Numbers for tests.

/// `n` numbers between −1 and 1, others for each seed.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    // The lower 16 bits are cut off: seeds that differ there alone would give the same numbers.
    let first = seed.wrapping_mul(77_777_777);
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(first) >> 16) as f32 / 32768.0 - 1.0)
        .collect()
}
