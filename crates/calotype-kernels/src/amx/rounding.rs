//! Pairs of bf16 numbers from f32, a vector at a time: by AVX512-BF16, which every processor with tiles has, and in plain
//! Rust.
//!
//! Both round to the nearest, ties to even. Subnormal numbers become zero in the instruction; to a tile they are.

use super::tile::STEP;

/// A row of pairs, as long as a tile's.
pub(crate) type Row = [f32; STEP];

/// # Safety
/// Every function: the processor has the instructions.
#[allow(clippy::missing_safety_doc, reason = "said once, above")]
pub(crate) trait Rounding {
    /// Pairs of neighbours, at most 2·[`STEP`] numbers; zeros after them.
    unsafe fn along(from: &[f32], to: &mut Row);
    /// Pairs of two rows of as many numbers, at most [`STEP`]; zeros after them.
    unsafe fn across(first: &[f32], second: &[f32], to: &mut Row);
    /// `to[i][j] = rows[j][i]`.
    unsafe fn transpose(rows: &[Row; STEP], to: &mut [Row; STEP]);
}

/// What runs anywhere.
pub(crate) struct Portable;

impl Rounding for Portable {
    #[inline(always)]
    unsafe fn along(from: &[f32], to: &mut Row) {
        let mut numbers = [0.0; 2 * STEP];
        numbers[..from.len()].copy_from_slice(from);
        let pairs = numbers.as_chunks::<2>().0;
        to.iter_mut().zip(pairs).for_each(|(to, [first, second])| *to = crate::bf16::pair(*first, *second));
    }

    #[inline(always)]
    unsafe fn across(first: &[f32], second: &[f32], to: &mut Row) {
        let (to, rest) = to.split_at_mut(first.len());
        let pairs = first.iter().zip(second);
        to.iter_mut().zip(pairs).for_each(|(to, (first, second))| *to = crate::bf16::pair(*first, *second));
        rest.fill(0.0);
    }

    #[inline(always)]
    unsafe fn transpose(rows: &[Row; STEP], to: &mut [Row; STEP]) {
        *to = std::array::from_fn(|i| rows.map(|row| row[i]));
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx512Bf16;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Rounding, Row};
    use crate::amx::tile::STEP;

    /// AVX-512 with AVX512-BF16.
    pub(crate) struct Avx512Bf16;

    /// The first `length` of 16 lanes.
    #[inline(always)]
    fn first(length: usize) -> u16 {
        ((1u32 << length.min(16)) - 1) as u16
    }

    impl Rounding for Avx512Bf16 {
        #[inline(always)]
        unsafe fn along(from: &[f32], to: &mut Row) {
            // SAFETY: the caller's promise; the masks leave out what is not there.
            unsafe {
                let low = _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr());
                let rest = first(from.len().saturating_sub(16));
                let high = _mm512_maskz_loadu_ps(rest, from.as_ptr().wrapping_add(16));
                let pairs: __m512 = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_ps(to.as_mut_ptr(), pairs);
            }
        }

        #[inline(always)]
        unsafe fn across(first_row: &[f32], second_row: &[f32], to: &mut Row) {
            // SAFETY: as above.
            unsafe {
                let mask = first(first_row.len().min(second_row.len()));
                let even = _mm512_maskz_loadu_ps(mask, first_row.as_ptr());
                let odd = _mm512_maskz_loadu_ps(mask, second_row.as_ptr());
                let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
                // 16 numbers of the first row, then 16 of the second: 0, 16, 1, 17, …
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let other = _mm512_add_epi32(lanes, _mm512_set1_epi32(16));
                let order = _mm512_or_si512(lanes, _mm512_slli_epi32::<16>(other));
                let pairs = _mm512_permutexvar_epi16(order, rounded);
                _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
            }
        }

        #[inline(always)]
        unsafe fn transpose(rows: &[Row; STEP], to: &mut [Row; STEP]) {
            // SAFETY: as above.
            unsafe {
                let r: [__m512i; 16] = std::array::from_fn(|i| _mm512_loadu_si512(rows[i].as_ptr().cast()));
                // In every lane of 128 bits: 2 × 2 blocks, then 4 × 4.
                let mut two = [_mm512_setzero_si512(); 16];
                for i in 0..8 {
                    two[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
                    two[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
                }
                // four[4 g + c]: column 4 l + c of rows 4 g to 4 g + 3 in lane l.
                let mut four = [_mm512_setzero_si512(); 16];
                for g in 0..4 {
                    for half in 0..2 {
                        let (a, b) = (two[4 * g + half], two[4 * g + 2 + half]);
                        four[4 * g + 2 * half] = _mm512_unpacklo_epi64(a, b);
                        four[4 * g + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
                    }
                }
                // Then the lanes.
                for c in 0..4 {
                    let (a, b) = (four[c], four[4 + c]);
                    let (d, e) = (four[8 + c], four[12 + c]);
                    let low = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xDD>(a, b)];
                    let high = [_mm512_shuffle_i32x4::<0x88>(d, e), _mm512_shuffle_i32x4::<0xDD>(d, e)];
                    for odd in 0..2 {
                        // Lanes odd, odd + 2 of the four groups.
                        let near = _mm512_shuffle_i32x4::<0x88>(low[odd], high[odd]);
                        let far = _mm512_shuffle_i32x4::<0xDD>(low[odd], high[odd]);
                        _mm512_storeu_si512(to[4 * odd + c].as_mut_ptr().cast(), near);
                        _mm512_storeu_si512(to[4 * (odd + 2) + c].as_mut_ptr().cast(), far);
                    }
                }
            }
        }
    }
}

/// Compiles a function for both. The body is generic in `R`, and the function gets `isa` as its first argument.
macro_rules! by_rounding {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$r:ident>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) {
            /// # Safety
            /// The processor has the instructions of `R`.
            #[inline(always)]
            unsafe fn generic<$r: $crate::amx::rounding::Rounding>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512_bf16($($arg: $ty),*) {
                // SAFETY: these are its instructions.
                unsafe { generic::<$crate::amx::rounding::Avx512Bf16>($($arg),*) }
            }

            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Amx => {
                    $crate::amx::permission::assert();
                    // SAFETY: the processor has them, as `request` has seen.
                    unsafe { avx512_bf16($($arg),*) }
                }
                // SAFETY: plain Rust.
                _ => unsafe { generic::<$crate::amx::rounding::Portable>($($arg),*) },
            }
        }
    };
}
pub(crate) use by_rounding;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of every size, with ties, infinities and NaN; no subnormal ones.
    fn numbers(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| match i % 11 {
                0 => f32::from_bits(0x3F80_8000),
                1 => f32::from_bits(0x3F81_8000),
                2 => f32::INFINITY,
                3 => f32::MAX,
                4 => -0.0,
                5 if i > 20 => f32::NAN,
                _ => ((i * i) as f32 * 0.37).sin() * 10f32.powi(i as i32 % 60 - 30),
            })
            .collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instructions_do_what_plain_rust_does() {
        if crate::isa::Isa::available_bf16().is_empty() {
            eprintln!("skipped, the processor lacks AVX512-BF16 or what goes with it");
            return;
        }
        #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn all<R: Rounding>(x: &[f32], y: &[f32]) -> Vec<u32> {
            let mut to = [[7.0; STEP]; STEP];
            let rows: [Row; STEP] = std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j) as f32));
            // SAFETY: the test has looked.
            unsafe {
                R::transpose(&rows, &mut to);
                let mut bits: Vec<u32> = to.as_flattened().iter().map(|x| x.to_bits()).collect();
                for n in 1..=2 * STEP {
                    R::along(&x[..n], &mut to[0]);
                    bits.extend(to[0].map(f32::to_bits));
                }
                for n in 1..=STEP {
                    R::across(&x[..n], &y[..n], &mut to[0]);
                    bits.extend(to[0].map(f32::to_bits));
                }
                bits
            }
        }
        for from in 0..40 {
            let x = numbers(200);
            let (x, y) = (&x[from..from + 32], &x[from + 77..from + 109]);
            // SAFETY: the processor has the features.
            let (expected, got) = unsafe { (all::<Portable>(x, y), all::<Avx512Bf16>(x, y)) };
            assert_eq!(got, expected);
            assert_eq!(f32::from_bits(got[3]), 300.0, "row 0 of the transpose, column 3");
        }
    }
}
