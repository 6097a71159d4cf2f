//! The tile instructions in plain Rust, bit for bit: what runs in tests on machines without AMX.
//!
//! Intel's description of `tdpbf16ps`: even and odd neighbours of the inner dimension are summed apart, each by fused
//! multiply–adds, and their sum is added to C at the end. Subnormal numbers count as zero going in and coming out;
//! rounding is to nearest, ties to even, whatever MXCSR says.

use super::tile::{Block, PANEL, ROWS, STEP, TILE, Tiles};

/// Plain Rust.
pub(crate) struct Emulation;

/// Zero for a subnormal number, with its sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// The two numbers of a pair.
fn halves(pair: f32) -> [f32; 2] {
    [f32::from_bits(pair.to_bits() << 16), f32::from_bits(pair.to_bits() & 0xFFFF_0000)].map(flushed)
}

/// c `[16, 16]` += a `[16, 16 pairs]` · b `[16 pairs, 16]`.
fn tdpbf16ps(c: &mut [f32; TILE], a: &[f32; TILE], b: &[f32; TILE]) {
    for (c, a) in c.as_chunks_mut::<ROWS>().0.iter_mut().zip(a.as_chunks::<STEP>().0) {
        for (n, c) in c.iter_mut().enumerate() {
            let mut sums = [0.0f32; 2];
            for (k, &a) in a.iter().enumerate() {
                let factors = halves(a).into_iter().zip(halves(b[k * ROWS + n]));
                for (sum, (x, y)) in sums.iter_mut().zip(factors) {
                    *sum = flushed(x.mul_add(y, *sum));
                }
            }
            *c = flushed(flushed(*c) + flushed(sums[0] + sums[1]));
        }
    }
}

/// 16 rows of 16 numbers, `row` bytes apart.
///
/// # Safety
/// They are there.
unsafe fn load(from: *const f32, row: usize) -> [f32; TILE] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|i| unsafe { from.byte_add(i / ROWS * row).add(i % ROWS).read() })
}

impl Tiles for Emulation {
    type Configured = ();

    unsafe fn configure() {}

    unsafe fn multiply(block: &Block, rows: usize, columns: usize) {
        for (i, j) in (0..rows * columns).map(|tile| (tile / columns, tile % columns)) {
            // SAFETY: the caller's promise: these are the rows of the tiles.
            unsafe {
                let mut c = [0.0; TILE];
                if !block.init[0].is_null() {
                    c = load(block.init[i].add(j * ROWS), block.init_row);
                }
                for step in 0..block.steps {
                    let a = load(block.a[i].add(step * TILE), 4 * STEP);
                    let b = load(block.b.add(step * STEP * PANEL + j * ROWS), 4 * PANEL);
                    tdpbf16ps(&mut c, &a, &b);
                }
                for (at, x) in c.into_iter().enumerate() {
                    block.c[i].byte_add(at / ROWS * block.c_row).add(j * ROWS + at % ROWS).write(x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amx::permission;
    use crate::memory::Buffer;

    /// Numbers of ordinary size, huge and tiny ones, subnormal ones among them, as pairs.
    fn pairs(n: usize, seed: u32) -> Buffer {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut half = |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = (state >> 8) as f32 / 8_388_608.0 - 1.0;
            (x * [1.0, 1e-20, 1e-38, 1e19][i / 7 % 4]).to_bits() >> 16
        };
        let mut pairs = Buffer::aligned(n);
        pairs
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = f32::from_bits(half(2 * i) | half(2 * i + 1) << 16));
        pairs
    }

    /// C of a block, in rows of [`PANEL`] numbers.
    fn product<T: Tiles>(
        seed: u32,
        steps: usize,
        [rows, columns]: [usize; 2],
        init: &[f32],
        init_row: usize,
    ) -> Vec<f32> {
        let (a, b) = (pairs(2 * steps * TILE, seed), pairs(steps * STEP * PANEL, seed + 1));
        let mut c = Buffer::aligned(2 * ROWS * PANEL);
        c.fill(7.0);
        let init = if init.is_empty() { std::ptr::null() } else { init.as_ptr() };
        let block = Block {
            a: [a.as_ptr(), a[steps * TILE..].as_ptr()],
            b: b.as_ptr(),
            steps,
            init: [init, init.wrapping_byte_add(ROWS * init_row)],
            init_row,
            c: [c.as_mut_ptr(), c[ROWS * PANEL..].as_mut_ptr()],
            c_row: 4 * PANEL,
        };
        // SAFETY: the callers use what there is; the buffers have all rows of the tiles.
        unsafe {
            let _configured = T::configure();
            T::prefetch(&block, rows);
            T::multiply(&block, rows, columns);
        }
        c.to_vec()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_processors_tiles_have_the_same_bits() {
        use crate::amx::instruction::Instruction;
        if let Err(reason) = permission::request() {
            eprintln!("skipped, the instruction itself is not compared with its emulation: {reason}");
            return;
        }
        let init: Vec<f32> = (0..2 * ROWS * PANEL).map(|i| (i as f32 * 0.37).sin()).collect();
        for (seed, steps) in (0..40).zip([1, 2, 7].into_iter().cycle()) {
            for shape in [[1, 1], [1, 2], [2, 1], [2, 2]] {
                for (init, row) in [(&[][..], 0), (&init[..PANEL], 0), (&init[..], 4 * PANEL)] {
                    let expected = product::<Emulation>(seed, steps, shape, init, row);
                    let got = product::<Instruction>(seed, steps, shape, init, row);
                    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                        assert!(same, "{steps} steps, {shape:?}, [{i}]: {got}, emulated {expected}");
                    }
                }
            }
        }
    }

    /// By hand: two products of the even, one of the odd neighbours, and what C was; other tiles are left alone.
    #[test]
    fn neighbours_are_summed_apart_and_added_to_c() {
        let mut tiles = [[0.0; TILE]; 2];
        let pair = |first: f32, second: f32| f32::from_bits(first.to_bits() >> 16 | second.to_bits());
        tiles[0][..2].copy_from_slice(&[pair(2.0, 3.0), pair(5.0, 0.0)]);
        (tiles[1][1], tiles[1][ROWS + 1]) = (pair(7.0, 11.0), pair(0.5, 1.0));
        let mut c = [1.0; TILE];
        tdpbf16ps(&mut c, &tiles[0], &tiles[1]);
        assert_eq!((c[1], c[0], c[ROWS + 1]), (1.0 + 14.0 + 33.0 + 2.5, 1.0, 1.0));
        // A subnormal factor is zero, and so is a sum that becomes subnormal.
        let mut c = [f32::MIN_POSITIVE / 2.0; TILE];
        tiles[0] = [pair(f32::from_bits(0x0040_0000), f32::from_bits(0x3F80_0000)); TILE];
        tiles[1] = [pair(f32::from_bits(0x7F00_0000), 0.0); TILE];
        tdpbf16ps(&mut c, &tiles[0], &tiles[1]);
        assert_eq!(c, [0.0; TILE]);
        let corner = product::<Emulation>(3, 2, [1, 1], &[], 0);
        assert!(corner[ROWS..PANEL].iter().chain(&corner[ROWS * PANEL..]).all(|&x| x == 7.0));
    }
}
