//! Numbers of a weight file in fewer bits than a `Storage` has, which become f32 when they are asked for.

use rayon::prelude::*;

use super::fp8::Fp8;
use super::gguf::BlockKind;

/// Numbers that one thread unpacks at a time, about: whole blocks.
const PIECE: usize = 1 << 16;

/// How numbers are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Packing {
    /// A byte for each, times a factor of the whole tensor.
    Fp8 {
        /// What a byte stands for.
        format: Fp8,
        /// The factor; 1 where a file has none.
        scale: f32,
    },
    /// Blocks of a GGUF file.
    Blocks(BlockKind),
}

impl Packing {
    /// (numbers of a block, its bytes).
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Fp8 { .. } => (1, 1),
            Self::Blocks(kind) => (kind.numbers(), kind.bytes()),
        }
    }

    /// Bytes that so many numbers take; `None` if they fill no whole number of blocks, or more than there can be.
    pub fn size(self, numbers: usize) -> Option<usize> {
        let (per_block, bytes) = self.block();
        if numbers.is_multiple_of(per_block) { (numbers / per_block).checked_mul(bytes) } else { None }
    }

    /// The numbers of whole blocks.
    pub(super) fn unpacked(self, packed: &[u8]) -> Vec<f32> {
        let (numbers, bytes) = self.block();
        let mut values = vec![0.0; packed.len() / bytes * numbers];
        let pieces = PIECE / numbers;
        let unpack = self.unpack();
        (values.par_chunks_mut(pieces * numbers).zip(packed.par_chunks(pieces * bytes)))
            .for_each(|(values, packed)| unpack(packed, values));
        values
    }

    /// Whether all numbers of whole blocks are finite.
    pub(super) fn is_finite(self, packed: &[u8]) -> bool {
        let (numbers, bytes) = self.block();
        let pieces = PIECE / numbers;
        let unpack = self.unpack();
        packed.par_chunks(pieces * bytes).all(|packed| {
            let mut values = vec![0.0; packed.len() / bytes * numbers];
            unpack(packed, &mut values);
            values.iter().all(|value| value.is_finite())
        })
    }

    /// From whole blocks to as many numbers.
    fn unpack(self) -> impl Fn(&[u8], &mut [f32]) + Sync {
        let codes = match self {
            Self::Fp8 { format, scale } => Some(format.values().map(|value| value * scale)),
            Self::Blocks(_) => None,
        };
        move |packed, values| match (self, &codes) {
            (Self::Blocks(kind), _) => kind.unpack(packed, values),
            (_, Some(codes)) => {
                values.iter_mut().zip(packed).for_each(|(value, code)| *value = codes[usize::from(*code)]);
            }
            (_, None) => {}
        }
    }
}
