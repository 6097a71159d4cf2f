//! Many things made a batch at a time: how far they are, and who may stop them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::parallel::in_parallel;

/// What `make` makes of `items`, in their order: `batch` of them at a time, batches side by side on the machine's
/// threads. `name`: of the work, for who watches it.
///
/// # Errors
/// Those of `make`; `Error::Stopped` between two batches.
pub fn in_batches<I: Sync, T: Send>(
    name: &str,
    items: &[I],
    batch: usize,
    machine: Machine,
    make: impl Fn(&[I]) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let progress = machine.progress;
    let steps = items.len();
    progress.begin(name, 0, steps);
    let done = AtomicUsize::new(0);
    let batches: Vec<&[I]> = items.chunks(batch.max(1)).collect();
    let made = in_parallel(batches, machine.threads, |batch| {
        let made = make(batch)?;
        let step = done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len();
        progress.step(step, "");
        if progress.interrupted() { Err(Error::Stopped { step, steps }) } else { Ok(made) }
    })?;
    progress.end(name);
    Ok(made.into_iter().flatten().collect())
}
