//! Numbers into blocks of 32 with one factor: Q4_0, Q8_0.
//!
//! The formulas of ggml's reference, and of gguf-py bit for bit.

use super::block::put_f16;

/// 1/d, or 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The number farthest from 0 becomes −8, so that all 16 codes are used on its side; the rest are rounded.
pub(super) fn q4_0(values: &[f32; 32], block: &mut [u8; 18]) {
    let farthest = values.iter().fold(0.0_f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    let d = farthest / -8.0;
    let inverse = inverse(d);
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    put_f16(block, 0, d);
    for (i, byte) in block[2..].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}

/// The number farthest from 0 becomes ±127; the rest are rounded, halves away from 0.
pub(super) fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let d = largest / 127.0;
    let inverse = inverse(d);
    put_f16(block, 0, d);
    for (byte, x) in block[2..].iter_mut().zip(values) {
        *byte = rounded(x * inverse) as i8 as u8;
    }
}

/// To the nearest whole number, halves away from 0, for |x| below 2²²: without a call for each.
fn rounded(x: f32) -> i32 {
    (x + 0.5_f32.next_down().copysign(x)) as i32
}
