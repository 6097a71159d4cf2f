//! The tile instructions of the processor, in `asm!`: their intrinsics are not stable.
//!
//! One `asm!` block holds a whole block of C. The compiler knows nothing of tiles but their names, so none is live
//! between two blocks.

use core::arch::asm;
use core::mem::offset_of;

use super::tile::{Block, ROWS, Tiles};

/// `ldtilecfg`'s operand.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static WHOLE_TILES: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        (row_bytes[i], rows[i]) = (64, 16);
        i += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// Releases the tiles of this thread: their state (8 KiB) need not be saved at a context switch any more, and the core
/// may sleep deeper.
pub(crate) struct Configured(core::marker::PhantomData<*const ()>);

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: tiles were configured, so the instruction is there.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// Assembles a kernel. What belongs to the second row or column of tiles is left out where there is none.
macro_rules! kernel {
    ($name:ident, row2: [$($row2:literal)?], column2: [$($column2:literal)?], both: [$($both:literal)?]) => {
        /// # Safety
        /// As [`Tiles::multiply`].
        unsafe fn $name(block: &Block) {
            // SAFETY: the caller's promise: loads and stores are of 16 rows of each tile that the block names, 64 bytes
            // each (128 with a second column), and all registers that change are named.
            unsafe {
                asm!(
                    "mov {a0}, [{block} + {init0}]",
                    "mov {a1}, [{block} + {init1}]",
                    "mov {row}, [{block} + {init_row}]",
                    "test {a0}, {a0}",
                    "jz 2f",
                    "tileloadd tmm0, [{a0} + {row}*1]",
                    $(concat!("/*", $column2, "*/ tileloadd tmm1, [{a0} + {row}*1 + 64]"),)?
                    $(concat!("/*", $row2, "*/ tileloadd tmm2, [{a1} + {row}*1]"),)?
                    $(concat!("/*", $both, "*/ tileloadd tmm3, [{a1} + {row}*1 + 64]"),)?
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "3:",
                    "mov {a0}, [{block} + {tiles0}]",
                    "mov {a1}, [{block} + {tiles1}]",
                    "mov {b}, [{block} + {panel}]",
                    "mov {steps}, [{block} + {step_count}]",
                    "mov {a_row:e}, 64",
                    "mov {row:e}, 128",
                    ".p2align 5",
                    "4:",
                    "tileloadd tmm6, [{b} + {row}*1]",
                    "tileloadd tmm4, [{a0} + {a_row}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    $(concat!("/*", $column2, "*/ tileloadd tmm7, [{b} + {row}*1 + 64]"),)?
                    $(concat!("/*", $column2, "*/ tdpbf16ps tmm1, tmm4, tmm7"),)?
                    $(concat!("/*", $row2, "*/ tileloadd tmm5, [{a1} + {a_row}*1]"),)?
                    $(concat!("/*", $row2, "*/ tdpbf16ps tmm2, tmm5, tmm6"),)?
                    $(concat!("/*", $both, "*/ tdpbf16ps tmm3, tmm5, tmm7"),)?
                    "add {a0}, 1024",
                    "add {a1}, 1024",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 4b",
                    "mov {a0}, [{block} + {c0}]",
                    "mov {a1}, [{block} + {c1}]",
                    "mov {row}, [{block} + {c_row}]",
                    "tilestored [{a0} + {row}*1], tmm0",
                    $(concat!("/*", $column2, "*/ tilestored [{a0} + {row}*1 + 64], tmm1"),)?
                    $(concat!("/*", $row2, "*/ tilestored [{a1} + {row}*1], tmm2"),)?
                    $(concat!("/*", $both, "*/ tilestored [{a1} + {row}*1 + 64], tmm3"),)?
                    block = in(reg) block,
                    a0 = out(reg) _, a1 = out(reg) _, row = out(reg) _, a_row = out(reg) _,
                    b = out(reg) _, steps = out(reg) _,
                    tiles0 = const offset_of!(Block, a),
                    tiles1 = const offset_of!(Block, a) + 8,
                    panel = const offset_of!(Block, b),
                    step_count = const offset_of!(Block, steps),
                    init0 = const offset_of!(Block, init),
                    init1 = const offset_of!(Block, init) + 8,
                    init_row = const offset_of!(Block, init_row),
                    c0 = const offset_of!(Block, c),
                    c1 = const offset_of!(Block, c) + 8,
                    c_row = const offset_of!(Block, c_row),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(two_by_two, row2: [""], column2: [""], both: [""]);
kernel!(two_by_one, row2: [""], column2: [], both: []);
kernel!(one_by_two, row2: [], column2: [""], both: []);
kernel!(one_by_one, row2: [], column2: [], both: []);

/// The processor.
pub(crate) struct Instruction;

impl Tiles for Instruction {
    type Configured = Configured;

    /// About 100 ns: once for many blocks.
    unsafe fn configure() -> Configured {
        // SAFETY: the caller's promise; the operand has 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE_TILES, options(nostack, readonly, preserves_flags))
        };
        Configured(core::marker::PhantomData)
    }

    #[inline]
    fn prefetch(block: &Block, rows: usize) {
        for group in &block.c[..rows] {
            for i in 0..ROWS {
                let line = group.wrapping_byte_add(i * block.c_row);
                // SAFETY: a prefetch changes nothing that a program could see, at any address.
                unsafe {
                    asm!("prefetchw [{0}]", "prefetchw [{0} + 64]", in(reg) line,
                        options(nostack, readonly, preserves_flags));
                }
            }
        }
    }

    #[inline]
    unsafe fn multiply(block: &Block, rows: usize, columns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match (rows, columns) {
                (2, 2) => two_by_two(block),
                (2, _) => two_by_one(block),
                (_, 2) => one_by_two(block),
                _ => one_by_one(block),
            }
        }
    }
}

/// Multiplies tiles in registers, four products `count` times over: what no product of matrices can pass. Returns the
/// operations.
///
/// # Safety
/// As [`Tiles::configure`]; `count` is not 0.
pub(crate) unsafe fn between_registers(count: usize) -> usize {
    // SAFETY: the caller's promise; no memory is touched.
    unsafe {
        let _configured = Instruction::configure();
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) count => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem),
        );
    }
    count * 4 * (16 * 16 * 32) * 2
}
