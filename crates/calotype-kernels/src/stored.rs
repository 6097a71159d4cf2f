//! Weights as they are stored: f32, bf16 or f16. Kernels compute in f32 and convert while they pack.

use std::borrow::Cow;

use burn::tensor::DType;
use burn_flex::FlexTensor;
use burn_std::{bf16, f16};
use rayon::prelude::*;

use crate::isa::{Isa, by_isa};

/// Numbers that are converted together.
const PIECE: usize = 32 * 1024;

/// A number that can be read as f32.
pub trait Stored: Copy + Sync {
    /// Its value, exactly.
    fn f32(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn f32(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    /// Exponent and mantissa moved to f32's places, times 2¹¹² for the difference of the exponents' biases:
    /// no branch, so that loops are vectorised. Subnormal numbers come out right, too.
    #[inline(always)]
    fn f32(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = (bits & 0x7FFF) << 13;
        let value = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
        // An exponent of all ones is infinity or NaN.
        let special = if magnitude >= 0x0F80_0000 { 0x7F80_0000 } else { 0 };
        f32::from_bits(value.to_bits() | special | (bits & 0x8000) << 16)
    }
}

/// The numbers of a contiguous tensor, whatever they are stored in.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// 32 bits.
    F32(&'a [f32]),
    /// The upper half of an f32.
    Bf16(&'a [bf16]),
    /// IEEE 754 binary16.
    F16(&'a [f16]),
}

/// Runs the same code for each way of storing.
macro_rules! by_storage {
    ($weights:expr, $values:ident => $body:expr) => {
        match $weights {
            $crate::stored::Weights::F32($values) => $body,
            $crate::stored::Weights::Bf16($values) => $body,
            $crate::stored::Weights::F16($values) => $body,
        }
    };
}
pub(crate) use by_storage;

by_isa! {
    fn widen_bf16(from: &[bf16], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from.f32());
    }
}

by_isa! {
    fn widen_f16(from: &[f16], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from.f32());
    }
}

impl<'a> Weights<'a> {
    /// Of a contiguous tensor of f32, bf16 or f16.
    ///
    /// # Panics
    /// For any other.
    pub fn of(tensor: &'a FlexTensor) -> Self {
        let found = match tensor.dtype() {
            DType::F32 => tensor.as_slice().map(Self::F32),
            DType::BF16 => tensor.as_slice().map(Self::Bf16),
            DType::F16 => tensor.as_slice().map(Self::F16),
            _ => None,
        };
        found.expect("weights are contiguous floats of 16 or 32 bits")
    }

    /// How many.
    pub fn len(&self) -> usize {
        by_storage!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in f32; a copy only where they are not.
    pub fn widened(self, isa: Isa) -> Cow<'a, [f32]> {
        fn all<T: Sync>(from: &[T], widen: impl Fn(&[T], &mut [f32]) + Sync) -> Vec<f32> {
            let mut to = vec![0.0; from.len()];
            to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| widen(from, to));
            to
        }
        match self {
            Self::F32(values) => Cow::Borrowed(values),
            Self::Bf16(values) => Cow::Owned(all(values, |from, to| widen_bf16(isa, from, to))),
            Self::F16(values) => Cow::Owned(all(values, |from, to| widen_f16(isa, from, to))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_sixteen_bits_is_read_exactly() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (got, expected) in [(half.f32(), half.to_f32()), (brain.f32(), brain.to_f32())] {
                let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
                assert!(same, "{bits:#06x}: {got}, expected {expected}");
            }
        }
    }

    #[test]
    fn slices_are_widened_on_every_instruction_set() {
        let numbers: Vec<f32> = (0..70_001).map(|i| (i % 2048) as f32 / 8.0 - 100.0).collect();
        let (halves, brains): (Vec<f16>, Vec<bf16>) =
            numbers.iter().map(|&x| (f16::from_f32(x), bf16::from_f32(x))).unzip();
        for isa in Isa::available() {
            let all = Weights::F16(&halves).widened(isa);
            assert!(all.iter().zip(&halves).all(|(&x, half)| x == half.to_f32()));
            let all = Weights::Bf16(&brains).widened(isa);
            assert!(all.iter().zip(&brains).all(|(&x, brain)| x == brain.to_f32()));
        }
    }
}
