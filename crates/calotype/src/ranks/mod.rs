//! Processes that train as one: what they say to each other, and what all of them decide alike.
//!
//! A rank is one of them, counted from 0; rank 0 writes the run. Every call of [`Ranks`] is made by all ranks in the same
//! order. [`Alone`] is a single process, [`mpi::Mpi`] many that `mpirun` or `srun` has started.

pub mod agreement;
mod alone;
pub mod mpi;
pub mod ordered_sum;
pub mod root;

use bytemuck::Pod;
use calotype_kernels::memory::Buffer;

pub use alone::Alone;

use crate::error::{Error, Result};
/// Which shares of a batch, or other things, are those of a rank.
pub use crate::shard::share as own;

/// The ranks of a training, as one of them sees them.
pub trait Ranks: Sync {
    /// Which of them this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// `send` is cut into pieces of so many numbers `to` each rank; what comes back are the pieces that the ranks have sent
    /// to this one, of so many numbers `from` each, one after another.
    ///
    /// # Errors
    /// `Error::Ranks` if the others cannot be reached.
    fn all_to_all(&self, send: Buffer, to: &[usize], from: &[usize]) -> Result<Buffer>;

    /// Numbers of all ranks, `counts` of each, one after another: `all` has this rank's in their place, what comes back has
    /// everyone's.
    ///
    /// # Errors
    /// As [`Ranks::all_to_all`].
    fn all_gather(&self, all: Buffer, counts: &[usize]) -> Result<Buffer>;

    /// The bytes that the ranks have sent, of the lengths `counts`, one after another: the same for all.
    ///
    /// # Errors
    /// As [`Ranks::all_to_all`].
    fn all_gather_bytes(&self, send: Vec<u8>, counts: &[usize]) -> Result<Vec<u8>>;

    /// The bytes of rank 0; the others give as many of any value.
    ///
    /// # Errors
    /// As [`Ranks::all_to_all`].
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// What comes next, for the message of somebody who waits in vain.
    fn begin(&self, _what: &str) {}
}

/// Whether this rank writes the run.
pub fn is_root(ranks: &dyn Ranks) -> bool {
    ranks.rank() == 0
}

/// A few numbers of every rank, `counts` of each, one after another: the same for all.
///
/// # Errors
/// As [`Ranks::all_gather`].
pub fn gather<T: Pod>(ranks: &dyn Ranks, send: &[T], counts: &[usize]) -> Result<Vec<T>> {
    let bytes: Vec<usize> = counts.iter().map(|count| count * size_of::<T>()).collect();
    Ok(numbers(&ranks.all_gather_bytes(bytemuck::cast_slice(send).to_vec(), &bytes)?))
}

/// Numbers of rank 0 for all.
///
/// # Errors
/// As [`Ranks::broadcast`].
pub fn of_root<T: Pod>(ranks: &dyn Ranks, values: Vec<T>) -> Result<Vec<T>> {
    if ranks.count() == 1 {
        return Ok(values);
    }
    Ok(numbers(&ranks.broadcast(bytemuck::cast_slice(&values).to_vec())?))
}

/// Texts of every rank, in their order; they may be of any length.
///
/// # Errors
/// As [`Ranks::all_gather`].
pub fn gather_texts(ranks: &dyn Ranks, text: &str) -> Result<Vec<String>> {
    let lengths = gather(ranks, &[text.len() as u64], &vec![1; ranks.count()])?;
    let counts: Vec<usize> = lengths.iter().map(|&length| length as usize).collect();
    let all = ranks.all_gather_bytes(text.as_bytes().to_vec(), &counts)?;
    let mut rest = all.as_slice();
    let text = |&count: &usize| {
        let (own, others) = rest.split_at(count);
        rest = others;
        String::from_utf8_lossy(own).into_owned()
    };
    Ok(counts.iter().map(text).collect())
}

/// A text of rank 0 for all.
///
/// # Errors
/// As [`Ranks::broadcast`].
pub fn text_of_root(ranks: &dyn Ranks, text: String) -> Result<String> {
    let length = of_root(ranks, vec![text.len() as u64])?;
    let length = length.first().map_or(0, |&length| length as usize);
    let bytes = if is_root(ranks) { text.into_bytes() } else { vec![0; length] };
    String::from_utf8(of_root(ranks, bytes)?).map_err(|e| Error::Ranks { reason: e.to_string() })
}

/// Bytes as numbers, wherever they begin.
pub fn numbers<T: Pod>(bytes: &[u8]) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_belongs_to_one_rank() {
        for (count, ranks) in [(8, 1), (8, 3), (7, 7), (17, 4)] {
            let all: Vec<usize> = (0..ranks).flat_map(|rank| own(count, rank, ranks)).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            assert!((0..ranks).all(|rank| !own(count, rank, ranks).is_empty()));
        }
    }

    #[test]
    fn alone_everything_is_ones_own() {
        assert_eq!(gather(&Alone, &[1.5f32, -0.0], &[2]).unwrap(), [1.5, -0.0]);
        assert_eq!(gather_texts(&Alone, "a cat").unwrap(), ["a cat"]);
        assert_eq!(text_of_root(&Alone, "é".into()).unwrap(), "é");
        assert_eq!(Alone.all_to_all(vec![1.0, 2.0].into(), &[2], &[2]).unwrap()[..], [1.0, 2.0]);
    }
}
