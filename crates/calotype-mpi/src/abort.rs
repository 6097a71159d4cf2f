//! The end of all ranks from one of them.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::functions::Functions;

/// How far this process's MPI is. It goes up only.
static STAGE: AtomicU8 = AtomicU8::new(BEFORE);

const BEFORE: u8 = 0;
const JOINED: u8 = 1;
const FINALIZING: u8 = 2;

/// Whether this process may join, which it may once. No handle is there before it has.
pub(crate) fn may_join() -> bool {
    STAGE.compare_exchange(BEFORE, JOINED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

pub(crate) fn finalizing() {
    STAGE.store(FINALIZING, Ordering::SeqCst);
}

/// How long messages of this process may take to the launcher. MPICH's drops what it has not read when it is told to end.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long `MPI_Abort` may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends all ranks, from any thread: for a watchdog, and for a hook of panics.
#[derive(Clone, Copy)]
pub struct AbortHandle {
    functions: &'static dyn Functions,
}

impl AbortHandle {
    pub(crate) fn new(functions: &'static dyn Functions) -> Self {
        Self { functions }
    }

    /// Ends this process with `code`, and all other ranks through MPI's launcher; nothing is dropped or written out.
    ///
    /// A code that a launcher would read as success (0, or a multiple of 256) becomes 1. `MPI_Abort` is called if MPI was
    /// joined and not finalised; where it does not end the process within 2 s, the process leaves by itself, and the
    /// launcher ends the others because of the code. What this process has said before is given 0.3 s to be passed on.
    pub fn abort(&self, code: i32) -> ! {
        let code = failure(code);
        // MPI may wait for what another thread of this process holds: MPI_Abort from a watchdog's thread, while the
        // thread that joined hangs in a call, is more than FUNNELED promises.
        let started = thread::Builder::new().spawn(move || {
            thread::sleep(LAST_WORDS + PATIENCE);
            leave(code)
        });
        thread::sleep(LAST_WORDS);
        if started.is_ok() && STAGE.load(Ordering::SeqCst) == JOINED {
            // SAFETY: MPI is initialised and not yet finalised. From another thread than the one that joined, libraries
            // do no more than tell the launcher and leave; should they wait, the thread above ends the process.
            unsafe { self.functions.abort(code) };
        }
        leave(code)
    }
}

fn failure(code: i32) -> c_int {
    if code & 0xff == 0 { 1 } else { code }
}

/// Leaves at once: what runs at an ordinary exit, of MPI's libraries too, may wait for the other ranks.
fn leave(code: c_int) -> ! {
    unsafe extern "C" {
        safe fn _exit(code: c_int) -> !;
    }
    _exit(code)
}

#[cfg(test)]
mod tests {
    use super::failure;

    #[test]
    fn no_code_says_success() {
        assert_eq!([0, 256, -256, i32::MIN].map(failure), [1; 4]);
        assert_eq!([1, 75, 101, 255, -1].map(failure), [1, 75, 101, 255, -1]);
    }
}
