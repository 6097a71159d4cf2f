//! Products of bf16 numbers by tiles: Intel's AMX.
//!
//! A tile is a register of 16 rows of 64 bytes. One instruction multiplies 16 rows of A, 32 bf16 numbers each, with 16
//! columns of B, and adds to 16 × 16 sums in f32. Sixteen times what AVX-512 does in f32, so that operands are the work:
//!
//! | module | what |
//! |---|---|
//! | [`permission`] | whether the processor and the system have tiles for us |
//! | `tile` | a block of C in registers, and who multiplies it |
//! | `instruction` | the processor's tiles, in `asm!` |
//! | `emulation` | the same in plain Rust, for tests |
//! | `rounding` | pairs of bf16 numbers from f32 |
//! | `operands` | A in tiles, from rows and from columns |
//! | `blocks` | all blocks of a product whose operands are ready |
//! | `product` | C = A·B: pieces for threads and caches, A made as it is needed |
//! | `columns` | C = Aᵀ·B, as gradients of weights are: B made as it is needed |
//! | `windows` | A of a convolution |
//!
//! B that is packed for [`Isa::Amx`](crate::Isa::Amx) lies as for AVX512-BF16, in panels of 32 columns of pairs, but for
//! zeros that fill up the inner dimension to whole steps.
//!
//! Sums are those of the instruction: they differ from those of other instruction sets in the last bits, and do not depend
//! on threads, because no inner dimension is cut by their number (docs/decisions/amx.md).

// Only tests multiply tiles on other processors.
#![cfg_attr(not(any(target_arch = "x86_64", test)), allow(dead_code, unused_variables))]

pub(crate) mod blocks;
pub(crate) mod columns;
#[cfg(test)]
mod emulation;
#[cfg(target_arch = "x86_64")]
pub(crate) mod instruction;
pub(crate) mod operands;
pub mod permission;
pub(crate) mod product;
mod rounding;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
pub(crate) mod windows;

/// Runs code with `$tiles` as who multiplies on `$isa`.
macro_rules! with_tiles {
    ($isa:expr, $tiles:ident => $body:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx => {
                type $tiles = $crate::amx::instruction::Instruction;
                $crate::amx::permission::assert();
                $body
            }
            #[cfg(test)]
            $crate::isa::Isa::AmxEmulated => {
                type $tiles = $crate::amx::emulation::Emulation;
                $body
            }
            other => unreachable!("{other:?} has no tiles"),
        }
    };
}
pub(crate) use with_tiles;
