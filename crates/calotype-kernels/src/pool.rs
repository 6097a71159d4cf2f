//! Buffers that nobody uses now, by size, and which of them are freed when they are too many.

use std::collections::BTreeMap;

/// Smaller buffers are not worth a place: the allocator keeps such memory itself.
pub const SMALLEST: usize = 1024;

/// Idle buffers, and how many numbers are in use.
pub struct Pool {
    classes: BTreeMap<usize, Class>,
    idle_numbers: usize,
    live_numbers: usize,
    most_live: usize,
    clock: u64,
}

/// The idle buffers of one size.
#[derive(Default)]
struct Class {
    idle: Vec<Vec<f32>>,
    last_taken: u64,
}

/// `length` up to the next of eight steps between powers of two, so that sizes that differ little
/// share their buffers.
pub fn size_class(length: usize) -> usize {
    length.next_multiple_of(length.next_power_of_two() / 16)
}

impl Pool {
    pub const fn new() -> Self {
        Self { classes: BTreeMap::new(), idle_numbers: 0, live_numbers: 0, most_live: 0, clock: 0 }
    }

    /// A buffer of `size` numbers that was used before, or of up to a quarter more where there is none.
    pub fn take(&mut self, size: usize) -> Option<Vec<f32>> {
        self.clock += 1;
        self.classes.entry(size).or_default().last_taken = self.clock;
        let mut fitting = self.classes.range_mut(size..=size + size / 4).map(|(_, class)| class);
        let found = fitting.find_map(|class| class.idle.pop());
        let live = found.as_ref().map_or(size, Vec::len);
        self.idle_numbers -= found.as_ref().map_or(0, Vec::len);
        self.live_numbers += live;
        self.most_live = self.most_live.max(self.live_numbers);
        found
    }

    /// A buffer of `size` numbers is live no longer.
    pub fn leave(&mut self, size: usize) {
        self.live_numbers -= size;
    }

    /// Takes a live buffer back, as [`Pool::keep`].
    pub fn give(&mut self, values: Vec<f32>) -> Vec<Vec<f32>> {
        self.leave(values.len());
        self.keep(values)
    }

    /// Keeps a buffer. Idle and live buffers together are an eighth more than were ever live, at most;
    /// above that, buffers of the size that was not asked for the longest go. Returns them.
    pub fn keep(&mut self, values: Vec<f32>) -> Vec<Vec<f32>> {
        let size = values.len();
        self.idle_numbers += size;
        self.classes.entry(size).or_default().idle.push(values);
        let mut surplus = Vec::new();
        while self.idle_numbers + self.live_numbers > self.most_live + self.most_live / 8 {
            let oldest = self.classes.values_mut().filter(|class| !class.idle.is_empty());
            let Some(class) = oldest.min_by_key(|class| class.last_taken) else { break };
            surplus.extend(class.idle.pop());
            self.idle_numbers -= surplus.last().map_or(0, Vec::len);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_an_eighth_at_most() {
        for length in SMALLEST..100_000 {
            let size = size_class(length);
            assert!(size >= length && size * 8 <= length * 9, "{length}: {size}");
            assert_eq!(size_class(size), size);
        }
    }

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut pool = Pool::new();
        assert!(pool.take(4096).is_none());
        assert!(pool.give(vec![7.0; 4096]).is_empty());
        assert!(pool.take(2048).is_none());
        assert_eq!(pool.take(4096), Some(vec![7.0; 4096]));
        assert_eq!((pool.idle_numbers, pool.live_numbers, pool.most_live), (0, 6144, 6144));
    }

    #[test]
    fn a_buffer_that_is_a_little_larger_serves_too() {
        let mut pool = Pool::new();
        assert!([5120, 6144].into_iter().all(|size| pool.take(size).is_none()));
        assert!([5120, 6144].into_iter().all(|size| pool.give(vec![0.0; size]).is_empty()));
        assert_eq!(pool.take(4096).map(|values| values.len()), Some(5120));
        assert_eq!(pool.take(4096), None, "6144 is more than a quarter larger");
        assert_eq!((pool.idle_numbers, pool.live_numbers), (6144, 5120 + 4096));
    }

    #[test]
    fn the_size_that_was_not_asked_for_the_longest_goes_first() {
        let mut pool = Pool::new();
        for size in [1024, 2048, 8192] {
            pool.take(size);
        }
        for size in [1024, 2048, 8192] {
            assert!(pool.give(vec![0.0; size]).is_empty());
        }
        assert_eq!(pool.live_numbers, 0);
        // 11264 numbers were live at most: 12672 may be there.
        pool.take(1024);
        assert!(pool.take(1152).is_none());
        let surplus = pool.give(vec![0.0; 1152]);
        assert!(surplus.is_empty(), "12416 numbers fit");
        pool.take(3072);
        let sizes: Vec<usize> = pool.give(vec![0.0; 3072]).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2048, 8192]);
        assert_eq!(pool.idle_numbers, 1152 + 3072);
    }
}
