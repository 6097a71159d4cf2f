//! Whether the processor has tiles and the system lets this process use them.
//!
//! A tile instruction without permission ends the program (`SIGILL`), so every witness is heard: the processor's feature
//! bits, the state that the system has enabled (XCR0), and Linux's answer to the request. A processor, a hypervisor, a
//! sandbox or an emulator that lacks one of them is one without tiles.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::isa::Isa;

/// Asks once for the process: threads that exist and threads that come later may use tiles, or none may.
///
/// # Errors
/// What is missing.
#[cfg(target_arch = "x86_64")]
pub fn request() -> Result<(), &'static str> {
    static ANSWER: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        processor()?;
        system()
    })
}

/// What every use of tiles begins with: [`Isa`](crate::Isa) is public, and whoever names one that is not there must not
/// get as far as a tile instruction.
///
/// # Panics
/// Where [`request`] says no.
#[cfg(target_arch = "x86_64")]
pub(crate) fn assert() {
    if let Err(reason) = request() {
        panic!("products by tiles were asked for, but {reason}");
    }
}

/// Other processors have none.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn request() -> Result<(), &'static str> {
    Err("only x86-64 has AMX")
}

#[cfg(target_arch = "x86_64")]
fn processor() -> Result<(), &'static str> {
    use core::arch::x86_64::__cpuid_count;

    /// Tiles' configuration and their data among the states of XCR0.
    const TILE_STATES: u64 = 0b11 << 17;
    let bit = |register: u32, n: u32| register >> n & 1 == 1;
    if __cpuid_count(0, 0).eax < 0x1D {
        return Err("this processor is older than AMX");
    }
    let features = __cpuid_count(7, 0).edx;
    if !(bit(features, 22) && bit(features, 24)) {
        return Err("this processor has no AMX-BF16 (cpuid 7, edx bits 22 and 24)");
    }
    // Palette 1: eight tiles of 16 rows of 64 bytes.
    let palette = __cpuid_count(0x1D, 1);
    if (palette.ebx >> 16, palette.ebx & 0xFFFF, palette.ecx & 0xFFFF) != (8, 64, 16) {
        return Err("this processor's tiles have another shape than 8 × 16 × 64 bytes");
    }
    // What surrounds the tile products: 512-bit vectors that round to bf16.
    if Isa::best() != Isa::Avx512 || !is_x86_feature_detected!("avx512bf16") {
        return Err("this processor has AMX but no AVX512-BF16");
    }
    // Bit 27 of leaf 1's ecx (OSXSAVE): `xgetbv` may be executed.
    // SAFETY: checked in the same condition.
    if !bit(__cpuid_count(1, 0).ecx, 27) || unsafe { enabled_states() } & TILE_STATES != TILE_STATES {
        return Err("the system saves no tiles (XCR0 bits 17 and 18)");
    }
    Ok(())
}

/// XCR0.
///
/// # Safety
/// The system has enabled `xgetbv`.
#[cfg(target_arch = "x86_64")]
unsafe fn enabled_states() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise; register 0 always exists, and only eax and edx are written.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nostack, nomem, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn system() -> Result<(), &'static str> {
    /// `ARCH_GET_XCOMP_PERM` and `ARCH_REQ_XCOMP_PERM` of `arch_prctl(2)`.
    const GET: usize = 0x1022;
    const REQUEST: usize = 0x1023;
    /// The tiles' data among the processor's extended states.
    const TILE_DATA: usize = 18;
    let mut granted = 0u64;
    // SAFETY: the first call takes two numbers and touches no memory of ours, the second writes one number to `granted`.
    // ENOSPC is an answer, too: some thread's alternate signal stack has no room for tiles.
    let answers = unsafe { (arch_prctl(REQUEST, TILE_DATA), arch_prctl(GET, (&raw mut granted).addr())) };
    if answers != (0, 0) || granted >> TILE_DATA & 1 == 0 {
        return Err("the system does not permit AMX (arch_prctl)");
    }
    Ok(())
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn system() -> Result<(), &'static str> {
    Err("only Linux is asked for AMX")
}

/// 0, or a negative error.
///
/// # Safety
/// What the code says of its argument.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
unsafe fn arch_prctl(code: usize, argument: usize) -> isize {
    let result: isize;
    // SAFETY: the caller's promise; the kernel overwrites rax, rcx and r11.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") 158isize => result, in("rdi") code, in("rsi") argument,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn every_thread_gets_the_same_answer() {
        let answer = request();
        let others: Vec<_> = (0..4).map(|_| std::thread::spawn(request)).collect();
        assert!(others.into_iter().all(|other| other.join().unwrap() == answer));
        if let Err(reason) = answer {
            eprintln!("no AMX here: {reason}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn who_asks_for_tiles_in_vain_meets_no_instruction() {
        let product =
            crate::amx::product::Product { rows: 1, depth: 16, columns: 1, b: &[0.0; 512], bias: None };
        let multiply = || product.run_here(crate::Isa::Amx, |_, _, _: &mut [f32]| (), |_| 0, &mut [0.0]);
        assert_eq!(std::panic::catch_unwind(multiply).is_ok(), request().is_ok());
    }

    /// What Linux says of the processor is another witness.
    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_permitted_that_linux_does_not_list() {
        let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if request().is_ok() {
            assert!(listed.contains(" amx_bf16") && listed.contains(" amx_tile"));
        }
    }
}
