//! Buffers that go round: the memory that one tensor gives back is what the next one takes.
//!
//! A training step allocates and frees the same sizes again and again. From the system, each of them
//! would come as fresh pages, which the kernel clears at every first touch, and the allocator would
//! clear them once more for a slice of zeros. A buffer from here holds whatever numbers were in it
//! last: who takes one writes all of it.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

use crate::pool::{Pool, SMALLEST, size_class};

/// Numbers that a kernel writes to, given back to the pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// As many numbers as the size class has, all initialised.
    values: Vec<f32>,
    /// The first of `length` numbers that are used.
    first: usize,
    length: usize,
    /// Whether it came from the pool, which counts it and gets it back.
    pooled: bool,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

fn pool() -> MutexGuard<'static, Pool> {
    // No code panics while it holds the lock; if one did, a list of whole buffers is still whole.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// `length` numbers of any value.
    pub fn any(length: usize) -> Self {
        if length < SMALLEST {
            return vec![0.0; length].into();
        }
        let size = size_class(length);
        let values = pool().take(size).unwrap_or_else(|| vec![0.0; size]);
        Self { values, first: 0, length, pooled: true }
    }

    /// `length` numbers of any value, the first of them at the beginning of a line of the cache: a load or a store of 64
    /// bytes meets one line then, not two.
    pub fn aligned(length: usize) -> Self {
        const NUMBER: usize = size_of::<f32>();
        let mut buffer = Self::any(length + LINE / NUMBER - 1);
        buffer.first = buffer.values.as_ptr().addr().wrapping_neg() % LINE / NUMBER;
        buffer.length = length;
        buffer
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut buffer = Self::any(length);
        buffer.fill(0.0);
        buffer
    }

    /// A copy of `values`.
    pub fn copy_of(values: &[f32]) -> Self {
        let mut buffer = Self::any(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// As the storage of a tensor.
    pub fn into_bytes(self) -> Bytes {
        let bytes = self.length * size_of::<f32>();
        // SAFETY: `memory` begins with `length` numbers, all initialised.
        unsafe { Bytes::from_controller(Box::new(Storage(self)), bytes) }
    }
}

/// Gives the memory of a vector to the pool, if its capacity is a size class. That of a vector which was a tensor's, and
/// which the pool had let go, is one: a gradient, say, that an optimiser has read. Other vectors are freed.
pub fn recycle(values: Vec<f32>) {
    if let Some(values) = whole(values) {
        let _surplus = pool().keep(values);
    }
}

/// A vector as long as its capacity, if that is a size class.
fn whole(mut values: Vec<f32>) -> Option<Vec<f32>> {
    let size = values.capacity();
    if size < SMALLEST || size_class(size) != size {
        return None;
    }
    values.resize(size, 0.0);
    Some(values)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.pooled {
            // Freed, if at all, after the lock is.
            let _surplus = pool().give(std::mem::take(&mut self.values));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.first..self.first + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.first..self.first + self.length]
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        let length = values.len();
        Self { values, first: 0, length, pooled: false }
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
        let values = &mut self.0.values[self.0.first..];
        // SAFETY: the bytes of the vector's numbers; the caller writes initialised bytes only, and any
        // four bytes are an f32.
        Ok(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values = &self.0.values[self.0.first..];
        // SAFETY: the bytes of the vector's numbers, initialised.
        Ok(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
    }

    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        // A vector is freed at its beginning, with the layout of its capacity, which burn takes to be `memory`'s length.
        if self.0.first != 0 || self.0.values.capacity() != self.0.values.len() {
            return None;
        }
        let taken = std::mem::replace(&mut self.0, Vec::new().into());
        let mut taken = std::mem::ManuallyDrop::new(taken);
        if taken.pooled {
            // For good.
            pool().leave(taken.values.len());
        }
        NonNull::new(taken.values.as_mut_ptr().cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_from_the_pool_goes_back_to_it() {
        assert!(Buffer::any(5000).pooled && !Buffer::any(10).pooled);
        // Of a length that is a size class, but never counted as live.
        assert!(!Buffer::from(vec![0.0; 4096]).pooled);
    }

    #[test]
    fn a_tensor_that_became_a_vector_goes_round_again() {
        let length = 7 * 1024 - 3;
        let values = Buffer::any(length).into_bytes().try_into_vec::<f32>().unwrap();
        assert_eq!(values.len(), length);
        let address = values.as_ptr();
        // Not the pool of the other tests, which may ask for this size, too.
        let mut pool = Pool::new();
        let size = values.capacity();
        assert!(size >= length && size_class(size) == size && pool.take(size).is_none());
        pool.leave(size);
        assert!(pool.keep(whole(values).unwrap()).is_empty());
        let again = pool.take(size).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (address, size));
        // Capacities that are no size class.
        assert!(whole(vec![1.0; 9001]).is_none() && whole(vec![1.0; 512]).is_none());
    }

    #[test]
    fn zeros_are_zeros_whatever_was_there() {
        for _ in 0..2 {
            let mut buffer = Buffer::zeros(5000);
            assert!(buffer.len() == 5000 && buffer.iter().all(|&x| x == 0.0));
            buffer.fill(3.0);
        }
    }

    #[test]
    fn aligned_buffers_begin_with_a_line_and_go_back_whole() {
        for length in [1, 17, 1024, 5000, 5009] {
            let mut buffer = Buffer::aligned(length);
            assert!(buffer.as_ptr().addr().is_multiple_of(LINE) && buffer.len() == length);
            buffer.fill(1.0);
            let all = buffer.values.len();
            assert!(buffer.pooled == (length + 15 >= SMALLEST) && (!buffer.pooled || size_class(all) == all));
        }
    }

    #[test]
    fn a_tensors_storage_can_be_read_written_copied_and_taken_over() {
        let buffers = [3, 5000].into_iter().flat_map(|length| [Buffer::any(length), Buffer::aligned(length)]);
        for mut buffer in buffers {
            let (first, length) = (buffer.first, buffer.len());
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            let mut bytes = buffer.into_bytes();
            assert_eq!(bytes.len(), 4 * length);
            let copy = bytes.clone();
            bytes[..4].copy_from_slice(&9.0f32.to_ne_bytes());
            assert_eq!(copy[..4], 0.0f32.to_ne_bytes());
            let expected = (length, 9.0, (length - 1) as f32);
            match bytes.try_into_vec::<f32>() {
                Ok(values) => assert_eq!((values.len(), values[0], values[length - 1]), expected),
                // Memory that does not begin with the first number is nobody else's to free.
                Err(bytes) => {
                    let number = |i: usize| f32::from_ne_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
                    assert!(first != 0 && (bytes.len() / 4, number(0), number(length - 1)) == expected);
                }
            }
        }
    }
}
