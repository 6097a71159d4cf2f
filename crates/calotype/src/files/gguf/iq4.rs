//! Blocks whose 4 bits are places in a table: IQ4_NL, IQ4_XS.

use super::block::f16;

/// Sixteen numbers, denser about 0 (`kvalues_iq4nl`).
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The 32 numbers of 16 bytes: low halves, then high ones.
fn fill(values: &mut [f32], numbers: &[u8], factor: f32) {
    let value = |place: u8| factor * f32::from(TABLE[usize::from(place)]);
    let (low, high) = values.split_at_mut(16);
    low.iter_mut().zip(numbers).for_each(|(to, q)| *to = value(q & 0xF));
    high.iter_mut().zip(numbers).for_each(|(to, q)| *to = value(q >> 4));
}

/// d, 16 bytes.
pub(super) fn iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    fill(values, &block[2..], f16(block, 0));
}

/// d, high bits of the factors (2 each), low bits (4 each), 128 bytes.
pub(super) fn iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let d = f16(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (i, values) in values.chunks_exact_mut(32).enumerate() {
        let low = block[4 + i / 2] >> (i % 2 * 4) & 0xF;
        let scale = low | ((high >> (2 * i) & 3) as u8) << 4;
        fill(values, &block[8 + 16 * i..][..16], d * (f32::from(scale) - 32.0));
    }
}
