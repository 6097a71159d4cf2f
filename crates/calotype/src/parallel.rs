//! Independent pieces of work side by side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use crate::error::{Error, Result};

/// Runs `work` on each item, at most `threads` at a time, and returns the results in the items' order.
///
/// Each piece has a thread pool of its own, so that the small matrix products inside do not wait for
/// each other. The results do not depend on `threads` as long as `work` is a pure function.
///
/// # Errors
/// The first error in the items' order; items after the wave that it was in are not begun.
pub fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut results = Vec::with_capacity(items.len());
    each_in_order(items, threads, work, |result| results.push(result))?;
    Ok(results)
}

/// [`in_parallel`] for those who need one result at a time: `then` gets them in the items' order, each wave's
/// before the next begins.
///
/// # Errors
/// As [`in_parallel`].
pub fn each_in_order<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R> + Sync,
    mut then: impl FnMut(R),
) -> Result<()> {
    let mut items = items.into_iter();
    loop {
        let wave: Vec<T> = items.by_ref().take(threads.max(1)).collect();
        if wave.is_empty() {
            return Ok(());
        }
        let each = (threads / wave.len()).max(1);
        let pools = (0..wave.len()).map(|piece| pool(piece, each)).collect::<Result<Vec<_>>>()?;
        let wave: Vec<Result<R>> = std::thread::scope(|scope| {
            let work = &work;
            let handles: Vec<_> = wave
                .into_iter()
                .zip(&pools)
                .map(|(item, pool)| scope.spawn(move || pool.install(|| work(item))))
                .collect();
            // A panic in a piece is a bug; it goes on in this thread.
            handles.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        for result in wave {
            then(result?);
        }
    }
}

/// By piece and number of threads.
type Pools = BTreeMap<(usize, usize), Arc<ThreadPool>>;

/// The thread pool of a piece. Pools stay for the next call: the threads of a training keep the memory
/// that the allocator has given them, step after step.
fn pool(piece: usize, threads: usize) -> Result<Arc<ThreadPool>> {
    static POOLS: Mutex<Pools> = Mutex::new(BTreeMap::new());
    // A map of finished pools is whole even if a thread panicked while it held the lock.
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&(piece, threads)) {
        return Ok(pool.clone());
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::argument("threads", "a number of threads that the system grants", e))?;
    Ok(pools.entry((piece, threads)).or_insert(Arc::new(pool)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_and_reports_the_first_error() {
        for threads in [1, 2, 3, 8] {
            let squares = in_parallel((0..7).collect(), threads, |i: i32| Ok(i * i)).unwrap();
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36]);
            let failing = |i: i32| if i >= 3 { Err(Error::argument("i", "below 3", i)) } else { Ok(i) };
            let error = in_parallel((0..7).collect(), threads, failing).unwrap_err();
            assert_eq!(error.to_string(), "i: expected below 3, got 3");
        }
    }
}
