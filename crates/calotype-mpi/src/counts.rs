//! Counts of bytes, checked before MPI sees them: its counts are of 32 bits, and a wrong one would be read or written
//! outside of a buffer.

use std::ffi::c_int;

use crate::error::MpiError;
use crate::functions::Parts;

/// The most bytes that one buffer of a call may have.
const MOST: usize = c_int::MAX as usize;

/// Counts and places of a buffer's parts, one after another, as MPI takes them.
#[derive(Debug)]
pub(crate) struct Placed {
    counts: Vec<c_int>,
    places: Vec<c_int>,
}

impl Placed {
    /// `counts` has a number for each of `ranks`, and they add up to `length`, the bytes of the buffer `of`.
    pub(crate) fn new(
        call: &'static str,
        of: &'static str,
        counts: &[usize],
        length: usize,
        ranks: usize,
    ) -> Result<Self, MpiError> {
        if counts.len() != ranks {
            let expected = format!("a count for each of the {ranks} ranks");
            return Err(MpiError::Counts { call, of, expected, got: counts.len() });
        }
        // The sum bounds every count and every place.
        let sum = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
        if sum != Some(length) {
            let sum = sum.map_or("more than there is memory".into(), |sum| sum.to_string());
            return Err(MpiError::Counts {
                call,
                of,
                expected: format!("{sum} bytes, the sum of its counts"),
                got: length,
            });
        }
        fits(call, of, length)?;
        let counts: Vec<c_int> = counts.iter().map(|count| *count as c_int).collect();
        let places = counts.iter().scan(0, |next, count| Some(std::mem::replace(next, *next + count)));
        Ok(Self { places: places.collect(), counts })
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts { counts: &self.counts, places: &self.places }
    }
}

/// `length` as MPI takes it.
pub(crate) fn fits(call: &'static str, of: &'static str, length: usize) -> Result<c_int, MpiError> {
    c_int::try_from(length).map_err(|_| MpiError::TooLarge { call, of, most: MOST, got: length })
}

#[cfg(test)]
mod tests {
    use super::{MOST, Placed};

    fn placed(counts: &[usize], length: usize) -> Result<Placed, String> {
        Placed::new("all_to_all", "send", counts, length, 3).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_lie_one_after_another() {
        let placed = placed(&[2, 0, 5], 7).unwrap();
        assert_eq!((placed.parts().counts, placed.parts().places), (&[2, 0, 5][..], &[0, 2, 2][..]));
        // The last place of the longest buffer.
        let placed = self::placed(&[MOST - 1, 1, 0], MOST).unwrap();
        assert_eq!(placed.parts().places, [0, MOST as i32 - 1, MOST as i32]);
    }

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        let refused = |counts: &[usize], length| placed(counts, length).unwrap_err();
        assert_eq!(
            refused(&[1, 2], 3),
            "MPI `all_to_all`: counts of `send`: expected a count for each of the 3 ranks, got 2"
        );
        assert_eq!(
            refused(&[1, 2, 3], 5),
            "MPI `all_to_all`: counts of `send`: expected 6 bytes, the sum of its counts, got 5"
        );
        let overflow = refused(&[usize::MAX, 1, 0], 0);
        assert!(overflow.contains("more than there is memory"), "{overflow}");
        assert_eq!(
            refused(&[MOST, 1, 0], MOST + 1),
            "MPI `all_to_all`: `send`: expected at most 2147483647 bytes in one call, got 2147483648\nhint: send it in several"
        );
    }
}
