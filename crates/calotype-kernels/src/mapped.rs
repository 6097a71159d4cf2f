//! Files that are read by mapping them into memory.
//!
//! A page is loaded when a number on it is first looked at, and costs no memory of its own.

use std::fs::File;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

/// The system maps pages around the one that is asked for, in windows of a power of two, up to a large page.
#[cfg(unix)]
const AROUND: usize = 1 << 21;

/// A file, read-only.
#[derive(Debug, Clone)]
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Maps a whole file.
    ///
    /// The file must not be changed or cut while the map or a tensor from it lives: what is read would change
    /// with it, and reading past a new end stops the program. Replacing a file by renaming another over it, as
    /// this project writes, is fine.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // SAFETY: the map is only read. That nobody changes the file meanwhile is what every reader of mapped
        // files has to rely on; it is documented above.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Arc::new(map)))
    }

    /// Lets go of the memory that `part` takes, if it is a part of this file: it is read again when it is next looked
    /// at. Who goes through a file once calls this behind themselves, so that no more of it counts as their memory than
    /// they are looking at.
    pub fn release(&self, part: &[u8]) {
        let first = part.as_ptr().addr().wrapping_sub(self.as_ptr().addr());
        let end = first.checked_add(part.len()).filter(|&end| end <= self.len());
        #[cfg(unix)]
        if let Some(end) = end {
            let first = first / AROUND * AROUND;
            let end = end.next_multiple_of(AROUND).min(self.len());
            // SAFETY: a page of a file that is mapped to be read has the same content when it is loaded again.
            let advised =
                unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, first, end - first) };
            // Nothing that is read depends on it.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = end;
    }

    /// Part of the file as the storage of a tensor whose numbers have `align` bytes: without a copy where the
    /// part begins at a multiple of that.
    ///
    /// # Panics
    /// If the range is not inside of the file.
    pub fn bytes(&self, range: Range<usize>, align: usize) -> Bytes {
        let part = &self[range.clone()];
        if !part.as_ptr().addr().is_multiple_of(align) || part.is_empty() {
            return copy(part);
        }
        let length = part.len();
        let part = Part::Mapped { file: self.clone(), range };
        // SAFETY: `memory` gives exactly the range, `length` initialised bytes.
        unsafe { Bytes::from_controller(Box::new(part), length) }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes in memory aligned for any number.
fn copy(bytes: &[u8]) -> Bytes {
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    for (word, part) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..part.len()].copy_from_slice(part);
        *word = u64::from_ne_bytes(whole);
    }
    let length = bytes.len();
    // SAFETY: `memory` gives at least `length` bytes, all initialised.
    unsafe { Bytes::from_controller(Box::new(Part::Copied(words)), length) }
}

/// Read from the file, until somebody wants to write: then a copy.
enum Part {
    Mapped { file: MappedFile, range: Range<usize> },
    Copied(Vec<u64>),
}

impl Part {
    fn initialised(&self) -> &[u8] {
        match self {
            Self::Mapped { file, range } => &file[range.clone()],
            // SAFETY: the bytes of the vector's words.
            Self::Copied(words) => unsafe {
                std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words.as_slice()))
            },
        }
    }
}

impl AllocationController for Part {
    fn alloc_align(&self) -> usize {
        align_of::<u64>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    fn view(&self, start: usize, end: usize) -> Option<Box<dyn AllocationController>> {
        let Self::Mapped { file, range } = self else { return None };
        let part = range.start + start..range.start + end;
        (start <= end && end <= range.len()).then(|| {
            Box::new(Self::Mapped { file: file.clone(), range: part }) as Box<dyn AllocationController>
        })
    }

    fn duplicate(&self) -> Option<Box<dyn AllocationController>> {
        let Self::Mapped { file, range } = self else { return None };
        Some(Box::new(Self::Mapped { file: file.clone(), range: range.clone() }))
    }

    unsafe fn memory_mut(&mut self, policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        if let Self::Mapped { file, range } = self {
            if !policy.copy_allowed() {
                return Err(AccessError::WouldCopy);
            }
            let bytes = &file[range.clone()];
            let mut words = vec![0_u64; bytes.len().div_ceil(8)];
            // SAFETY: the words have room for the bytes, and the two do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast(), bytes.len()) };
            *self = Self::Copied(words);
        }
        match self {
            // SAFETY: the bytes of the vector's words; any bytes are a word.
            Self::Copied(words) => Ok(unsafe {
                std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words.as_slice()))
            }),
            Self::Mapped { .. } => Err(AccessError::WouldCopy),
        }
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.initialised();
        // SAFETY: initialised bytes may be seen as ones that need not be.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_place_and_written_in_a_copy() {
        let path = std::env::temp_dir().join(format!("calotype-mapped-{}", std::process::id()));
        let numbers: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.len(), 4000);
        let part = file.bytes(40..80, 4);
        assert_eq!(part.view(8, 12).unwrap()[..], bytes[48..52]);
        assert!(part.view(8, 41).is_err());
        for range in [40..80, 41..81, 0..4000, 8..8] {
            let mut part = file.bytes(range.clone(), 4);
            assert_eq!(part[..], bytes[range.clone()], "{range:?}");
            assert!(part.as_ptr().addr().is_multiple_of(4));
            if let Some(first) = part.first_mut() {
                *first ^= 0xFF;
                assert_ne!(part[0], file[range.start]);
                assert_eq!(part.clone()[..], part[..], "a copy of what was written");
                assert_eq!(part[1..], bytes[range][1..]);
            }
        }
        let aligned = file.bytes(40..80, 4);
        assert_eq!(aligned.as_ptr(), file[40..].as_ptr(), "no copy");
        assert_eq!(aligned.clone().as_ptr(), aligned.as_ptr(), "nor by a clone");
        let again = file.clone();
        drop(file);
        let read: Vec<f32> = aligned.as_chunks::<4>().0.iter().map(|&b| f32::from_ne_bytes(b)).collect();
        assert_eq!(read, numbers[10..20]);
        assert_eq!(aligned[..], bytes[40..80], "the map lives as long as its parts");
        again.release(&again[8..4000]);
        again.release(&bytes);
        assert_eq!(again[..], bytes[..], "what was released is read again");
        std::fs::remove_file(path).unwrap();
        assert!(MappedFile::open(&std::env::temp_dir()).is_err());
    }
}
