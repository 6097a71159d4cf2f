//! Vectors of f32 under one name, so that the matrix product is written once.

/// One width of vector.
///
/// # Safety
/// Every function: the processor has the instructions, and pointers point to `LANES` numbers.
#[allow(clippy::missing_safety_doc, reason = "said once, above")]
pub trait Simd {
    /// `LANES` numbers.
    type Vector: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a register tile two vectors wide: as many as the registers hold.
    const ROWS: usize;

    /// Zeros.
    unsafe fn zero() -> Self::Vector;
    /// `LANES` numbers from `from`.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// `LANES` numbers to `to`.
    unsafe fn store(to: *mut f32, v: Self::Vector);
    /// One number in every lane.
    unsafe fn splat(x: f32) -> Self::Vector;
    /// a·b + c.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// a + b.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Eight numbers that the compiler puts into whatever registers there are.
pub struct Portable;

impl Simd for Portable {
    type Vector = [f32; 8];
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller's promise, see the trait.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 8]) {
        // SAFETY: the caller's promise, see the trait.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // `f32::mul_add` is a library call where the target has no such instruction.
        std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] }
        })
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::Simd;

    /// 16 registers of 8 numbers: 6 × 2 sums, 2 columns, 1 row.
    pub struct Avx2;

    /// 32 registers of 16 numbers: 12 × 2 sums, 2 columns, 1 row.
    pub struct Avx512;

    macro_rules! simd {
        ($name:ident, $vector:ty, $lanes:literal, $rows:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident) => {
            impl Simd for $name {
                type Vector = $vector;
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;

                #[inline(always)]
                unsafe fn zero() -> $vector {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $zero() }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> $vector {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(to: *mut f32, v: $vector) {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $store(to, v) }
                }

                #[inline(always)]
                unsafe fn splat(x: f32) -> $vector {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $splat(x) }
                }

                #[inline(always)]
                unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $fma(a, b, c) }
                }

                #[inline(always)]
                unsafe fn add(a: $vector, b: $vector) -> $vector {
                    // SAFETY: the caller's promise, see the trait.
                    unsafe { $add(a, b) }
                }
            }
        };
    }

    /// [`Avx512`], but the factors are pairs of bf16 numbers: a·b + c sums both products.
    pub struct Avx512Bf16;

    impl Simd for Avx512Bf16 {
        type Vector = __m512;
        const LANES: usize = Avx512::LANES;
        const ROWS: usize = Avx512::ROWS;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller's promise, see the trait.
            unsafe { Avx512::zero() }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise, see the trait.
            unsafe { Avx512::load(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            // SAFETY: the caller's promise, see the trait.
            unsafe { Avx512::store(to, v) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller's promise, see the trait.
            unsafe { Avx512::splat(x) }
        }

        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller's promise, see the trait; the vectors hold 32 bf16 numbers each.
            unsafe { _mm512_dpbf16_ps(c, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller's promise, see the trait.
            unsafe { Avx512::add(a, b) }
        }
    }

    simd!(
        Avx2,
        __m256,
        8,
        6,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps
    );
    simd!(
        Avx512,
        __m512,
        16,
        12,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
}
