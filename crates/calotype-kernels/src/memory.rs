//! Buffers that go round: the memory that one tensor gives back is what the next one takes.
//!
//! A training step allocates and frees the same sizes again and again. From the system, each of them
//! would come as fresh pages, which the kernel clears at every first touch, and the allocator would
//! clear them once more for a slice of zeros. A buffer from here holds whatever numbers were in it
//! last: who takes one writes all of it.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// Smaller buffers are not worth a place: the allocator keeps such memory itself.
const SMALLEST: usize = 1024;

/// Numbers that a kernel writes to, given back to the pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// As many numbers as the size class has, all initialised.
    values: Vec<f32>,
    length: usize,
}

/// Buffers that nobody uses now, by size.
struct Pool {
    idle: BTreeMap<usize, Vec<Vec<f32>>>,
    idle_numbers: usize,
    live_numbers: usize,
    most_live: usize,
}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { idle: BTreeMap::new(), idle_numbers: 0, live_numbers: 0, most_live: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // No code panics while it holds the lock; if one did, a list of whole buffers is still whole.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `length` up to the next of eight steps between powers of two, so that sizes that differ little
/// share their buffers.
fn size_class(length: usize) -> usize {
    length.next_multiple_of(length.next_power_of_two() / 16)
}

impl Buffer {
    /// `length` numbers of any value.
    pub fn any(length: usize) -> Self {
        if length < SMALLEST {
            return Self { values: vec![0.0; length], length };
        }
        let size = size_class(length);
        let values = pool().take(size).unwrap_or_else(|| vec![0.0; size]);
        Self { values, length }
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut buffer = Self::any(length);
        buffer.fill(0.0);
        buffer
    }

    /// As the storage of a tensor.
    pub fn into_bytes(self) -> Bytes {
        let bytes = self.length * size_of::<f32>();
        // SAFETY: `memory` has at least `bytes` bytes, all initialised.
        unsafe { Bytes::from_controller(Box::new(Storage(self)), bytes) }
    }
}

impl Pool {
    /// A buffer of `size` numbers that was used before.
    fn take(&mut self, size: usize) -> Option<Vec<f32>> {
        self.live_numbers += size;
        self.most_live = self.most_live.max(self.live_numbers);
        let values = self.idle.get_mut(&size)?.pop()?;
        self.idle_numbers -= size;
        Some(values)
    }

    /// Keeps a buffer, or returns it if so much is idle already that a whole step could live from it.
    fn give(&mut self, values: Vec<f32>) -> Option<Vec<f32>> {
        let size = values.len();
        self.live_numbers = self.live_numbers.saturating_sub(size);
        if self.idle_numbers + size > self.most_live {
            return Some(values);
        }
        self.idle_numbers += size;
        self.idle.entry(size).or_default().push(values);
        None
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        if values.len() >= SMALLEST && values.len() == size_class(values.len()) {
            // Freed, if at all, after the lock is.
            let _surplus = pool().give(values);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.length]
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        let length = values.len();
        Self { values, length }
    }
}

/// A buffer as burn's storage; cloning it copies.
struct Storage(Buffer);

impl AllocationController for Storage {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let values = &mut self.0.values;
        // SAFETY: the bytes of the vector's numbers; the caller writes initialised bytes only, and any
        // four bytes are an f32.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values.as_slice()))
        })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values = &self.0.values;
        // SAFETY: the bytes of the vector's numbers, initialised.
        Ok(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values.as_slice())) })
    }

    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        // A vector is freed with the layout of its capacity, which burn takes to be `memory`'s length.
        if self.0.values.capacity() != self.0.values.len() {
            return None;
        }
        let mut values = std::mem::ManuallyDrop::new(std::mem::take(&mut self.0.values));
        self.0.length = 0;
        // It leaves the pool for good.
        let mut pool = pool();
        pool.live_numbers = pool.live_numbers.saturating_sub(values.len());
        NonNull::new(values.as_mut_ptr().cast())
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
        // A size that no other test asks for.
        let length = 7 * 1024 * 1024 / 4;
        let first = Buffer::any(length);
        let address = first.as_ptr();
        drop(first);
        let second = Buffer::zeros(length);
        assert_eq!(second.as_ptr(), address);
        assert!(second.iter().all(|&x| x == 0.0));
    }

    #[test]
    fn a_tensors_storage_can_be_read_written_copied_and_taken_over() {
        for length in [3, 5000] {
            let mut buffer = Buffer::any(length);
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            let mut bytes = buffer.into_bytes();
            assert_eq!(bytes.len(), 4 * length);
            let copy = bytes.clone();
            bytes[..4].copy_from_slice(&9.0f32.to_ne_bytes());
            assert_eq!(copy[..4], 0.0f32.to_ne_bytes());
            let values = bytes.try_into_vec::<f32>().unwrap();
            assert_eq!((values.len(), values[0], values[length - 1]), (length, 9.0, (length - 1) as f32));
        }
    }
}
