//! How fast this machine moves memory: a copy of more than its caches hold.

use std::hint::black_box;
use std::io;
use std::thread;
use std::time::Instant;

use memmap2::MmapMut;

/// Bytes that are copied.
const COPIED: usize = 256 << 20;
/// Copies, of which the fastest counts.
const COPIES: usize = 5;

/// Bytes read and bytes written of a copy by `threads` threads side by side, in 10⁹ a second. The memory comes from the
/// system and goes back to it at once: an allocator might keep it, and the process would look larger than its work needs.
///
/// # Errors
/// That of the system, if it has no 512 MiB.
pub fn copied_gb_per_second(threads: usize) -> io::Result<f64> {
    let [mut from, mut to] = [MmapMut::map_anon(COPIED)?, MmapMut::map_anon(COPIED)?];
    // Pages that were never written are all the same one.
    from.fill(1);
    let part = COPIED.div_ceil(threads.max(1));
    let mut best = f64::INFINITY;
    for _ in 0..COPIES {
        let start = Instant::now();
        thread::scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(move || black_box(to).copy_from_slice(black_box(from)));
            }
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * COPIED as f64 / best * 1e-9)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_copied() {
        let found = super::copied_gb_per_second(2).unwrap();
        assert!((0.05..1e4).contains(&found), "{found} GB/s");
    }
}
