//! Steps prepared ahead: pictures are decoded while the step before them is computed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Steps that each worker may be ahead.
const AHEAD: usize = 2;
/// How often a consumer that belongs to rayon's pool looks whether the pool has work for it.
const LOOKS_FOR_WORK: Duration = Duration::from_millis(1);

/// What the workers and the consumer share.
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    end: usize,
    ahead: usize,
}

struct State<T> {
    /// The first step that nobody has begun.
    next: usize,
    /// The step that the consumer waits for.
    wanted: usize,
    ready: BTreeMap<usize, std::thread::Result<T>>,
    stopped: bool,
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step to prepare, once it is near enough; `None` when there is nothing left.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        while !state.stopped && state.next < self.end && state.next >= state.wanted + self.ahead {
            state = self.wait(state);
        }
        if state.stopped || state.next >= self.end {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    fn put(&self, step: usize, prepared: std::thread::Result<T>) {
        self.lock().ready.insert(step, prepared);
        self.changed.notify_all();
    }

    fn take(&self, step: usize) -> T {
        self.lock().wanted = step;
        self.changed.notify_all();
        loop {
            // A consumer that is a thread of rayon's pool helps: a worker that encodes pictures asks the same pool, which
            // may have no other thread.
            let helped = rayon::yield_now();
            let mut state = self.lock();
            if let Some(prepared) = state.ready.remove(&step) {
                drop(state);
                return prepared.unwrap_or_else(|panic| resume_unwind(panic));
            }
            match helped {
                Some(rayon::Yield::Executed) => {}
                Some(rayon::Yield::Idle) => drop(self.changed.wait_timeout(state, LOOKS_FOR_WORK)),
                None => drop(self.wait(state)),
            }
        }
    }
}

/// Stops the workers when the consumer ends, however it ends.
struct StopAtEnd<'a, T>(&'a Queue<T>);

impl<T> Drop for StopAtEnd<'_, T> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

/// Runs `consume`, which may ask for `steps` one after another; `workers` threads prepare them ahead. With 0
/// workers each step is prepared when it is asked for. As long as `prepare` is a pure function of the step, the
/// number of workers changes the time and nothing else.
///
/// A panic of `prepare` goes on in the consumer when it asks for that step.
pub fn prepared_ahead<T: Send, R>(
    workers: usize,
    steps: Range<usize>,
    prepare: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn FnMut(usize) -> T) -> R,
) -> R {
    if workers == 0 {
        return consume(&mut |step| prepare(step));
    }
    let first = State { next: steps.start, wanted: steps.start, ready: BTreeMap::new(), stopped: false };
    let queue =
        Queue { state: Mutex::new(first), changed: Condvar::new(), end: steps.end, ahead: AHEAD * workers };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(step) = queue.claim() {
                    queue.put(step, catch_unwind(AssertUnwindSafe(|| prepare(step))));
                }
            });
        }
        let _stop = StopAtEnd(&queue);
        consume(&mut |step| queue.take(step))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn every_step_comes_in_order_whatever_the_workers() {
        for workers in [0, 1, 4] {
            let all = prepared_ahead(
                workers,
                5..40,
                |step| {
                    // Later steps are ready first.
                    std::thread::sleep(Duration::from_micros(((step * 7) % 5) as u64 * 100));
                    step * step
                },
                |next| (5..40).map(&mut *next).collect::<Vec<_>>(),
            );
            assert_eq!(all, (5..40).map(|step| step * step).collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_ahead_but_not_far_and_stops_with_the_consumer() {
        let (workers, begun) = (2, AtomicUsize::new(0));
        prepared_ahead(
            workers,
            0..1_000_000,
            |_| begun.fetch_add(1, Ordering::SeqCst),
            |next| {
                next(0);
                // While nobody asks, they prepare what they may, and then, given time, no more.
                let hangs = Instant::now() + Duration::from_secs(60);
                while begun.load(Ordering::SeqCst) < workers * AHEAD {
                    assert!(Instant::now() < hangs, "the workers are idle");
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(50));
            },
        );
        assert_eq!(begun.load(Ordering::SeqCst), workers * AHEAD);
    }

    #[test]
    fn workers_may_compute_in_the_pool_of_a_consumer_that_waits() {
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let prepare = |step| pool.install(|| step * step);
            let all = |next: &mut dyn FnMut(usize) -> usize| (0..20).map(next).sum::<usize>();
            said.send(pool.install(|| prepared_ahead(1, 0..20, prepare, all))).unwrap();
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(2470), "each waits for the other");
    }

    #[test]
    fn a_panic_reaches_the_consumer() {
        let caught = catch_unwind(|| {
            prepared_ahead(2, 0..10, |step| assert_ne!(step, 3), |next| (0..10).for_each(next))
        });
        assert!(caught.is_err());
    }
}
