//! The instruction set that a kernel runs with, chosen when the program runs, and the precision of its products.

use std::sync::OnceLock;

use crate::processor::Processor;

/// Precision of the operands of products; sums, and everything else, are in f32.
///
/// It is an argument of [`conv2d`](fn@crate::conv2d), [`linear`](fn@crate::linear) and
/// [`attention`](fn@crate::attention), whose backward pass has that of the forward pass: two networks of one process
/// may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Products {
    /// 24 significant bits.
    #[default]
    F32,
    /// 8 significant bits: the operands of linear maps, convolutions, their gradients and attention's forward pass are
    /// rounded. Only where the processor gains by it ([`Products::is_available`]); elsewhere the same as
    /// [`Products::F32`].
    Bf16,
}

impl Products {
    /// Whether products are computed so on this machine: [`Isa::of`].
    pub fn is_available(self) -> bool {
        self == Self::F32 || Isa::of(self).takes_pairs()
    }
}

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// The same as [`Isa::Avx512`], and products of bf16 numbers by tiles ([`mod@crate::amx`]).
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// Tiles in plain Rust, bit for bit, for tests on any machine.
    #[cfg(test)]
    AmxEmulated,
    /// The same as [`Isa::Avx512`], and products of bf16 numbers where a kernel has them ([`mod@crate::bf16`]).
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// 512-bit vectors of x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors and fused multiply-add of x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust, which the compiler turns into what the target always has (NEON on AArch64).
    Portable,
}

impl Isa {
    /// Every instruction set of this machine, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                found.push(Self::Avx512);
            }
            if avx2 {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }

    /// The fastest instruction set of this machine, with products in f32.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// The fastest instruction set of this machine for products of a precision. Tiles are fast wherever they are; vectors of
    /// bf16 pairs are left alone on processors that are known to take longer for them than for f32: by their model and not
    /// by a stopwatch, so that results do not depend on one.
    pub fn of(products: Products) -> Self {
        static BF16: OnceLock<Isa> = OnceLock::new();
        match products {
            Products::F32 => Self::best(),
            Products::Bf16 => *BF16.get_or_init(|| {
                let pairs_are_fast = Processor::this().is_none_or(|processor| processor.pairs_are_fast());
                let fast = |isa: &Self| isa.has_tiles() || pairs_are_fast;
                Self::available_bf16().into_iter().find(fast).unwrap_or(Self::best())
            }),
        }
    }

    /// Every one with products of bf16 numbers that this machine has, fast or not, the fastest first.
    pub fn available_bf16() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512bf16") && Self::best() == Self::Avx512 {
            let tiles = crate::amx::permission::request().is_ok();
            return [Self::Amx].into_iter().filter(|_| tiles).chain([Self::Avx512Bf16]).collect();
        }
        Vec::new()
    }

    /// Every one with products of bf16 numbers that a test can run.
    #[cfg(test)]
    pub fn tested_bf16() -> Vec<Self> {
        let mut all = Self::available_bf16();
        all.push(Self::AmxEmulated);
        all
    }

    /// Whether products take pairs of bf16 numbers.
    pub fn takes_pairs(self) -> bool {
        self != self.f32()
    }

    /// Whether they are products of tiles, which [`mod@crate::amx`] has and [`mod@crate::product`] has not.
    pub fn has_tiles(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => true,
            #[cfg(test)]
            Self::AmxEmulated => true,
            _ => false,
        }
    }

    /// The same vectors, with products in f32.
    pub fn f32(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Bf16 => Self::Avx512,
            #[cfg(test)]
            Self::AmxEmulated => Self::best(),
            other => other,
        }
    }
}

/// Compiles a function once for each instruction set. The body is plain Rust that the compiler
/// vectorises; the function gets `isa` as its first argument.
macro_rules! by_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn generic($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                generic($($arg),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                generic($($arg),*);
            }

            match isa {
                // SAFETY: `Isa::available` names an instruction set only where the processor has it.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Bf16 | $crate::isa::Isa::Amx => unsafe {
                    avx512($($arg),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(test)]
                $crate::isa::Isa::AmxEmulated => generic($($arg),*),
                $crate::isa::Isa::Portable => generic($($arg),*),
            }
        }
    };
}
pub(crate) use by_isa;
