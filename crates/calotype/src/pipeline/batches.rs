//! Many pictures, a batch at a time: what makes them, how far they are, and who may stop them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::text_to_image::PictureRequest;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::parallel::in_parallel;

/// What `make` makes of `requests`, in their order: `batch` of them at a time, batches side by side on the machine's
/// threads. `name`: of the work, for who watches it.
///
/// # Errors
/// Those of `make`; `Error::Interrupted` between two batches.
pub fn in_batches<T: Send>(
    name: &str,
    requests: &[PictureRequest],
    batch: usize,
    machine: Machine,
    make: impl Fn(&[PictureRequest]) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let progress = machine.progress;
    progress.begin(name, 0, requests.len());
    let done = AtomicUsize::new(0);
    let batches: Vec<&[PictureRequest]> = requests.chunks(batch.max(1)).collect();
    let made = in_parallel(batches, machine.threads, |batch| {
        let made = make(batch)?;
        progress.step(done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len(), "");
        // Between two pieces of work that have no checkpoint.
        if progress.interrupted() { Err(Error::Interrupted { step: 0 }) } else { Ok(made) }
    })?;
    progress.end(name);
    Ok(made.into_iter().flatten().collect())
}
