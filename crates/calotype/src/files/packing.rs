//! Numbers of a weight file in fewer bits than a `Storage` has, which become f32 when they are asked for.
//!
//! Matrices may stay packed in a network too: its products unpack them piece by piece ([`calotype_kernels::quantised`]).

use burn::tensor::Bytes;
use calotype_kernels::quantised::QuantisedMatrix;
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

    /// Whether all numbers of whole blocks are finite. Of blocks only the factors are looked at: numbers are finite if
    /// these are, none is without them, and no product of a factor of 16 bits with as few bits is too large for f32.
    pub(super) fn is_finite(self, packed: &[u8]) -> bool {
        let (numbers, bytes) = self.block();
        let is_finite: &(dyn Fn(&[u8]) -> bool + Sync) = match self {
            Self::Fp8 { format, scale } => {
                let finite = format.values().map(|value| (value * scale).is_finite());
                &move |packed| packed.iter().all(|code| finite[usize::from(*code)])
            }
            Self::Blocks(kind) => &move |packed| kind.is_finite(packed),
        };
        packed.par_chunks(PIECE / numbers * bytes).all(is_finite)
    }

    /// The same numbers for the kernels, still packed: `None` if a row is not a whole number of blocks.
    pub(super) fn matrix(self, packed: Bytes, shape: [usize; 2]) -> Option<QuantisedMatrix> {
        QuantisedMatrix::new(packed, shape, self.block(), Box::new(self.unpack()))
    }

    /// From whole blocks to as many numbers.
    fn unpack(self) -> impl Fn(&[u8], &mut [f32]) + Send + Sync + 'static {
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
