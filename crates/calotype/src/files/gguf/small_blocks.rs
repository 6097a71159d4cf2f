//! Blocks of 32 numbers with one factor: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Of 16 bytes, the low halves are the first 16 numbers, and the high ones the rest.

use super::block::f16;

/// The 32 halves of the 16 bytes from `at` on.
fn nibbles(block: &[u8], at: usize) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { block[at + i] & 0xF } else { block[at + i - 16] >> 4 })
}

/// The same with a fifth bit each, from the four bytes before them.
fn five_bits(block: &[u8], at: usize) -> [u8; 32] {
    let low = nibbles(block, at + 4);
    std::array::from_fn(|i| low[i] | (block[at + i / 8] >> (i % 8) & 1) << 4)
}

fn fill(values: &mut [f32; 32], numbers: [u8; 32], value: impl Fn(u8) -> f32) {
    values.iter_mut().zip(numbers).for_each(|(to, q)| *to = value(q));
}

/// d, 16 bytes.
pub(super) fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let d = f16(block, 0);
    fill(values, nibbles(block, 2), |q| d * (f32::from(q) - 8.0));
}

/// d, m, 16 bytes.
pub(super) fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let (d, m) = (f16(block, 0), f16(block, 2));
    fill(values, nibbles(block, 4), |q| d * f32::from(q) + m);
}

/// d, fifth bits, 16 bytes.
pub(super) fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let d = f16(block, 0);
    fill(values, five_bits(block, 2), |q| d * (f32::from(q) - 16.0));
}

/// d, m, fifth bits, 16 bytes.
pub(super) fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let (d, m) = (f16(block, 0), f16(block, 2));
    fill(values, five_bits(block, 4), |q| d * f32::from(q) + m);
}

/// d, 32 bytes with a sign.
pub(super) fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let d = f16(block, 0);
    values.iter_mut().zip(&block[2..]).for_each(|(to, q)| *to = d * f32::from(*q as i8));
}
