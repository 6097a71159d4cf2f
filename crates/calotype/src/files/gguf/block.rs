//! ggml's kinds of blocks: a few numbers in few bits, with factors of their own.
//!
//! Layouts: `ggml-common.h`, numbers: `ggml-quants.c` of <https://github.com/ggml-org/ggml>. In f32, one product and
//! one sum after the other, so that the numbers are those of ggml bit for bit.

use super::{iq4, k_blocks, quantise_k, quantise_small, small_blocks};

/// How the numbers of a tensor are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// 32 numbers of 4 bits, a factor: d·(q − 8).
    Q4_0,
    /// 32 of 4 bits, a factor and an offset: d·q + m.
    Q4_1,
    /// 32 of 5 bits: d·(q − 16).
    Q5_0,
    /// 32 of 5 bits: d·q + m.
    Q5_1,
    /// 32 of 8 bits: d·q.
    Q8_0,
    /// 256 of 2 bits, factors and offsets of each 16.
    Q2K,
    /// 256 of 3 bits, factors of each 16.
    Q3K,
    /// 256 of 4 bits, factors and offsets of each 32.
    Q4K,
    /// 256 of 5 bits, likewise.
    Q5K,
    /// 256 of 6 bits, factors of each 16.
    Q6K,
    /// 32 places of 4 bits in a table of 16 numbers.
    Iq4Nl,
    /// 256 of these, factors of each 32.
    Iq4Xs,
}

impl BlockKind {
    /// Every kind that is read.
    pub const ALL: [Self; 12] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    /// ggml's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
        }
    }

    /// ggml's number.
    pub fn id(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Iq4Nl => 20,
            Self::Iq4Xs => 23,
        }
    }

    /// Numbers of a block.
    pub fn numbers(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs => 256,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Iq4Xs => 136,
        }
    }

    /// Where in a block its factors of 16 bits are: every number is a product of these, or a sum of such products.
    fn factors(self) -> &'static [usize] {
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs => &[0],
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K => &[0, 2],
            Self::Q2K => &[80, 82],
            Self::Q3K => &[108],
            Self::Q6K => &[208],
        }
    }

    /// Whether the factors of whole blocks are finite.
    pub(in crate::files) fn is_finite(self, packed: &[u8]) -> bool {
        // All ones in the exponent.
        let special = |block: &[u8], at: usize| block[at + 1] & 0x7C == 0x7C;
        let any = |block: &[u8]| self.factors().iter().fold(false, |any, &at| any | special(block, at));
        !packed.chunks_exact(self.bytes()).any(any)
    }

    /// The numbers of whole blocks; `values` has as many places.
    pub(in crate::files) fn unpack(self, packed: &[u8], values: &mut [f32]) {
        match self {
            Self::Q4_0 => each(packed, values, small_blocks::q4_0),
            Self::Q4_1 => each(packed, values, small_blocks::q4_1),
            Self::Q5_0 => each(packed, values, small_blocks::q5_0),
            Self::Q5_1 => each(packed, values, small_blocks::q5_1),
            Self::Q8_0 => each(packed, values, small_blocks::q8_0),
            Self::Q2K => each(packed, values, k_blocks::q2_k),
            Self::Q3K => each(packed, values, k_blocks::q3_k),
            Self::Q4K => each(packed, values, k_blocks::q4_k),
            Self::Q5K => each(packed, values, k_blocks::q5_k),
            Self::Q6K => each(packed, values, k_blocks::q6_k),
            Self::Iq4Nl => each(packed, values, iq4::iq4_nl),
            Self::Iq4Xs => each(packed, values, iq4::iq4_xs),
        }
    }

    /// How numbers are packed, as ggml's reference does it without weights of importance; `None` for kinds that are only
    /// read.
    pub fn quantiser(self) -> Option<Quantiser> {
        match self {
            Self::Q4_0 => Some(|values, packed| pack_each(values, packed, quantise_small::q4_0)),
            Self::Q8_0 => Some(|values, packed| pack_each(values, packed, quantise_small::q8_0)),
            Self::Q4K => Some(|values, packed| pack_each(values, packed, quantise_k::q4_k)),
            Self::Q5K => Some(|values, packed| pack_each(values, packed, quantise_k::q5_k)),
            Self::Q6K => Some(|values, packed| pack_each(values, packed, quantise_k::q6_k)),
            _ => None,
        }
    }
}

/// From whole blocks of numbers to as many packed blocks.
pub type Quantiser = fn(&[f32], &mut [u8]);

/// [`each`] the other way.
fn pack_each<const BYTES: usize, const NUMBERS: usize>(
    values: &[f32],
    packed: &mut [u8],
    pack: impl Fn(&[f32; NUMBERS], &mut [u8; BYTES]),
) {
    let blocks = packed.as_chunks_mut::<BYTES>().0;
    values.as_chunks::<NUMBERS>().0.iter().zip(blocks).for_each(|(values, block)| pack(values, block));
}

/// Block by block, each of `BYTES` bytes and `NUMBERS` numbers.
fn each<const BYTES: usize, const NUMBERS: usize>(
    packed: &[u8],
    values: &mut [f32],
    unpack: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    let blocks = packed.as_chunks::<BYTES>().0;
    blocks.iter().zip(values.as_chunks_mut::<NUMBERS>().0).for_each(|(block, values)| unpack(block, values));
}

/// Writes `value` as the f16 at byte `at` of a block, and returns what that f16 is.
pub(super) fn put_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = half::f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// The f16 at byte `at` of a block.
pub(super) fn f16(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
