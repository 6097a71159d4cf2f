//! The arithmetic that this machine can do at most: fused multiply-adds between registers.

use std::hint::black_box;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use crate::amx::{instruction::between_registers, permission};
use crate::isa::Isa;
use crate::simd::{Portable, Simd};

/// Sums that wait for no other: more than the latency of two units, fewer than the registers.
const SUMS: usize = 12;
/// Multiply–adds of each sum in one measured piece.
const LENGTH: usize = 100_000;

/// GFLOP/s of `threads` threads that do nothing but multiply–adds of registers, in the precision of `isa`: the best of
/// several short pieces.
pub fn gflops(isa: Isa, threads: usize) -> f64 {
    let best = |_| (0..20).map(|_| piece(isa)).fold(0.0, f64::max);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || best(thread))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0.0)).sum()
    })
}

/// GFLOP/s of one piece of work.
fn piece(isa: Isa) -> f64 {
    let start = Instant::now();
    let operations = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => {
            permission::assert();
            // SAFETY: tiles are there and permitted.
            unsafe { between_registers(LENGTH / 4) }
        }
        _ => {
            black_box(vectors(isa));
            let numbers = if isa.takes_pairs() { 2 } else { 1 };
            2 * SUMS * LENGTH * isa.lanes() * numbers
        }
    };
    operations as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// Sums of multiply–adds of vectors.
fn vectors(isa: Isa) -> f32 {
    match isa {
        // SAFETY: `Isa::available` names an instruction set only where the processor has it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(black_box(1e-9)) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { avx512_bf16(black_box(1e-9)) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(black_box(1e-9)) },
        // SAFETY: plain Rust.
        Isa::Portable => unsafe { multiply_add::<Portable>(black_box(1e-9)) },
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => unreachable!("tiles are measured by themselves"),
        #[cfg(test)]
        Isa::AmxEmulated => unreachable!("it is no processor's"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(x: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { multiply_add::<crate::simd::Avx512>(x) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512_bf16(x: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { multiply_add::<crate::simd::Avx512Bf16>(x) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(x: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { multiply_add::<crate::simd::Avx2>(x) }
}

/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn multiply_add<S: Simd>(x: f32) -> f32 {
    // SAFETY: the caller's promise; `last` has `LANES` numbers at least.
    unsafe {
        let factor = S::splat(x);
        let mut sums = [S::splat(1.0); SUMS];
        for _ in 0..LENGTH {
            for sum in &mut sums {
                *sum = S::mul_add(*sum, factor, factor);
            }
        }
        let total = sums.into_iter().fold(S::zero(), |a, b| S::add(a, b));
        let mut last = [0.0f32; 16];
        S::store(last.as_mut_ptr(), total);
        last.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_does_some_arithmetic() {
        for isa in Isa::available().into_iter().chain(Isa::available_bf16()) {
            let found = gflops(isa, 1);
            assert!(found > 0.1 && found < 1e5, "{isa:?}: {found} GFLOP/s");
        }
    }
}
