//! Blocks of 256 numbers with factors of 16 or 32 each, themselves in few bits: Q2_K to Q6_K.

use super::block::f16;

/// 16 bytes of factors and offsets (4 bits each), 64 bytes of numbers, d, m.
///
/// Of 32 bytes, the lowest two bits are 32 numbers, and so on.
pub(super) fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, numbers) = (&block[..16], &block[16..80]);
    let (d, m) = (f16(block, 80), f16(block, 82));
    for (i, value) in values.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let q = numbers[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        *value = d * f32::from(scale & 0xF) * f32::from(q) - m * f32::from(scale >> 4);
    }
}

/// 32 bytes of third bits (0: minus 4), 64 bytes of numbers as in [`q2_k`], 12 bytes of factors (6 bits), d.
pub(super) fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (high, numbers, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = f16(block, 108);
    // Four bits of a factor, and two more from the last four bytes.
    let scale = |i: usize| {
        let low = if i < 8 { scales[i] & 0xF } else { scales[i - 8] >> 4 };
        low | (scales[8 + i % 4] >> (i / 4 * 2) & 3) << 4
    };
    for (i, value) in values.iter_mut().enumerate() {
        let q = numbers[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        let third = high[i % 32] >> (i / 32) & 1;
        let q = f32::from(q) - if third == 1 { 0.0 } else { 4.0 };
        *value = d * (f32::from(scale(i / 16)) - 32.0) * q;
    }
}

/// Factor and offset of 32 numbers, of 6 bits each in 12 bytes: Q4_K and Q5_K.
fn scale_and_offset(scales: &[u8], i: usize) -> (f32, f32) {
    let (scale, offset) = if i < 4 {
        (scales[i] & 63, scales[i + 4] & 63)
    } else {
        let (low, high) = (scales[i + 4], [scales[i - 4] >> 6, scales[i] >> 6]);
        (low & 0xF | high[0] << 4, low >> 4 | high[1] << 4)
    };
    (scale.into(), offset.into())
}

/// Of each 32 bytes of `numbers`, the low halves are 32 numbers, and the high ones the next 32.
fn nibble(numbers: &[u8], i: usize) -> u8 {
    numbers[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 0xF
}

/// d, m, 12 bytes of factors and offsets, 128 bytes of numbers.
pub(super) fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (d, m, scales, numbers) = (f16(block, 0), f16(block, 2), &block[4..16], &block[16..]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(scales, group);
        let (factor, offset) = (d * scale, m * offset);
        for (i, value) in values.iter_mut().enumerate() {
            *value = factor * f32::from(nibble(numbers, group * 32 + i)) - offset;
        }
    }
}

/// d, m, 12 bytes of factors and offsets, 32 bytes of fifth bits, 128 bytes of numbers.
pub(super) fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (d, m, scales) = (f16(block, 0), f16(block, 2), &block[4..16]);
    let (high, numbers) = (&block[16..48], &block[48..]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(scales, group);
        let (factor, offset) = (d * scale, m * offset);
        for (i, value) in values.iter_mut().enumerate() {
            let q = nibble(numbers, group * 32 + i) | (high[i] >> group & 1) << 4;
            *value = factor * f32::from(q) - offset;
        }
    }
}

/// 128 bytes of four bits, 64 bytes of two more, 16 factors with a sign, d.
pub(super) fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = f16(block, 208);
    for (i, value) in values.iter_mut().enumerate() {
        // 128 numbers are in 64 bytes of `low` and 32 of `high`.
        let (half, place) = (i / 128, i % 128);
        let four = low[half * 64 + place % 64] >> (place / 64 * 4) & 0xF;
        let two = high[half * 32 + place % 32] >> (place / 32 * 2) & 3;
        let q = f32::from(four | two << 4) - 32.0;
        *value = d * f32::from(scales[i / 16] as i8) * q;
    }
}
