//! All ranks of an MPI world, and what they exchange.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::path::Path;

use crate::abort::{self, AbortHandle};
use crate::counts::{Placed, fits};
use crate::error::MpiError;
use crate::functions::Functions;
use crate::{launched, library};

/// All ranks of an MPI world. Bytes only; collective calls are made by all ranks in the same order, from the thread that
/// joined.
///
/// It stays on that thread. Dropping it does nothing: only [`World::finalize`] takes leave of the others, and only where
/// all went well.
///
/// ```compile_fail
/// fn send(_: impl Send) {}
/// fn world(world: calotype_mpi::World) { send(world) }
/// ```
pub struct World {
    functions: &'static dyn Functions,
    rank: usize,
    count: usize,
    library: String,
    /// Neither `Send` nor `Sync`: MPI is initialised for calls from one thread.
    thread: PhantomData<*mut ()>,
}

impl World {
    /// Loads `library`, or the first that is there, and initialises MPI for calls from this thread (FUNNELED).
    ///
    /// Call it before other threads are started: libraries change the environment of the process while they initialise.
    /// Some end the process there with a message of their own, such as Open MPI under an `srun` of another interface.
    ///
    /// # Errors
    /// `NoLibrary`, `NotMpi`: nothing was initialised. `WrongLauncher`: this process is a world of its own where the
    /// launcher started several. `JoinedBefore`, `Threads`, `Call`.
    pub fn join(library: Option<&Path>) -> Result<World, MpiError> {
        let functions = library::load(library)?;
        // SAFETY: may be asked at any time.
        let library = short(&unsafe { functions.version() });
        if !abort::may_join() {
            return Err(MpiError::JoinedBefore);
        }
        // SAFETY: `may_join` says yes once in a process.
        let (code, threads) = unsafe { functions.init() };
        if code != 0 {
            // MPI has no texts for codes before it is initialised.
            let text = "MPI could not be initialised".to_owned();
            return Err(MpiError::Call { library, function: "MPI_Init_thread", code, text });
        }
        if !threads {
            return Err(MpiError::Threads { library });
        }
        let mut world = World { functions, rank: 0, count: 0, library, thread: PhantomData };
        let (mut rank, mut count) = (0, 0);
        // SAFETY: this thread has just initialised MPI.
        unsafe {
            world.check("MPI_Comm_set_errhandler", functions.return_errors())?;
            world.check("MPI_Comm_rank", functions.rank(&mut rank))?;
            world.check("MPI_Comm_size", functions.count(&mut count))?;
        }
        // MPI's ranks count from 0, and there is at least one.
        (world.rank, world.count) = (rank as usize, count as usize);
        match launched() {
            Some(launched) if world.count == 1 && launched.count > 1 => {
                Err(MpiError::WrongLauncher { library: world.library, launched })
            }
            _ => Ok(world),
        }
    }

    /// Which of the ranks this is, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the library calls itself, for messages: `Open MPI v4.1.4`, `MPICH 4.0.2`.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.library
    }

    /// Part r of `send` (lengths `send_counts`, one after another) goes to rank r; what rank r sends comes at its place of
    /// `receive`.
    ///
    /// # Errors
    /// `Counts`, `TooLarge`: nothing was sent. `Call`: counts of two ranks differ, or a rank is gone.
    pub fn all_to_all(
        &self,
        send: &[u8],
        send_counts: &[usize],
        receive: &mut [u8],
        receive_counts: &[usize],
    ) -> Result<(), MpiError> {
        let sent = Placed::new("all_to_all", "send", send_counts, send.len(), self.count)?;
        let received = Placed::new("all_to_all", "receive", receive_counts, receive.len(), self.count)?;
        let (from, to) = (start(send), start_mut(receive));
        // SAFETY: a world is on the thread that joined, and is not finalised; counts add up to the slices' lengths.
        let code = unsafe { self.functions.all_to_all(from, sent.parts(), to, received.parts()) };
        self.check("MPI_Alltoallv", code)
    }

    /// The `send` of every rank, one after another, in `receive` of every rank. `counts` has their lengths.
    ///
    /// # Errors
    /// As [`World::all_to_all`]'s.
    pub fn all_gather(&self, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Result<(), MpiError> {
        let received = Placed::new("all_gather", "receive", counts, receive.len(), self.count)?;
        let own = counts[self.rank];
        if send.len() != own {
            let expected = format!("{own} bytes, the count of rank {}", self.rank);
            return Err(MpiError::Counts { call: "all_gather", of: "send", expected, got: send.len() });
        }
        let count = fits("all_gather", "send", own)?;
        let (from, to) = (start(send), start_mut(receive));
        // SAFETY: as above; `count` is the length of `send`.
        let code = unsafe { self.functions.all_gather(from, count, to, received.parts()) };
        self.check("MPI_Allgatherv", code)
    }

    /// The same where the part of this rank lies at its place of `all` already.
    ///
    /// # Errors
    /// As [`World::all_to_all`]'s.
    pub fn all_gather_in_place(&self, all: &mut [u8], counts: &[usize]) -> Result<(), MpiError> {
        let received = Placed::new("all_gather_in_place", "all", counts, all.len(), self.count)?;
        // SAFETY: as above.
        let code = unsafe { self.functions.all_gather_in_place(start_mut(all), received.parts()) };
        self.check("MPI_Allgatherv", code)
    }

    /// The `bytes` of rank `root` become those of every rank. All have one length.
    ///
    /// # Errors
    /// `Root`, `TooLarge`: nothing was sent. `Call`: lengths differ, or a rank is gone.
    pub fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<(), MpiError> {
        if root >= self.count {
            return Err(MpiError::Root { call: "broadcast", count: self.count, got: root });
        }
        let count = fits("broadcast", "bytes", bytes.len())?;
        // SAFETY: as above; `count` is the length of `bytes`.
        let code = unsafe { self.functions.broadcast(start_mut(bytes), count, root as c_int) };
        self.check("MPI_Bcast", code)
    }

    /// Waits until every rank has come here.
    ///
    /// # Errors
    /// `Call`: a rank is gone.
    pub fn barrier(&self) -> Result<(), MpiError> {
        // SAFETY: a world is on the thread that joined, and is not finalised.
        self.check("MPI_Barrier", unsafe { self.functions.barrier() })
    }

    /// Takes leave of the other ranks, and waits for them to do the same. After success only: after an error they may
    /// never come.
    ///
    /// # Errors
    /// `Call`.
    pub fn finalize(self) -> Result<(), MpiError> {
        abort::finalizing();
        // SAFETY: a world is on the thread that joined, and is gone after this.
        match unsafe { self.functions.finalize() } {
            0 => Ok(()),
            // No texts after MPI was finalised, as none before it was initialised.
            code => Err(MpiError::Call {
                library: self.library,
                function: "MPI_Finalize",
                code,
                text: "MPI could not be finalised".to_owned(),
            }),
        }
    }

    /// Ends all ranks with `code`: see [`AbortHandle::abort`].
    pub fn abort(&self, code: i32) -> ! {
        self.abort_handle().abort(code)
    }

    /// A handle for other threads that ends all ranks.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(self.functions)
    }

    fn check(&self, function: &'static str, code: c_int) -> Result<(), MpiError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: a world is on the thread that joined, and is not finalised.
        let text = unsafe { self.functions.error_text(code) };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(MpiError::Call { library: self.library.clone(), function, code, text })
    }
}

/// Where empty buffers lie. Rust's lie at address 1, which is `MPI_IN_PLACE` in Open MPI and in the standard interface;
/// and the two of a call must differ for MPICH.
static NOTHING: [u8; 2] = [0; 2];

/// Where a slice starts, for MPI.
fn start(bytes: &[u8]) -> *const u8 {
    if bytes.is_empty() { &raw const NOTHING[0] } else { bytes.as_ptr() }
}

fn start_mut(bytes: &mut [u8]) -> *mut u8 {
    // Nothing is written there: the counts are 0.
    if bytes.is_empty() { (&raw const NOTHING[1]).cast_mut() } else { bytes.as_mut_ptr() }
}

/// The name and the version of what a library says of itself, which may be a page.
fn short(version: &str) -> String {
    let line = version.lines().next().unwrap_or_default();
    let name = line.split(',').next().unwrap_or_default().replace("Version:", " ");
    let words = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { "an MPI without a name".to_owned() } else { words.chars().take(80).collect() }
}

#[cfg(test)]
mod tests {
    use super::{short, start, start_mut};

    #[test]
    fn libraries_names_are_short() {
        let open_mpi =
            "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022";
        assert_eq!(short(open_mpi), "Open MPI v4.1.4");
        assert_eq!(short("MPICH Version:      4.0.2\nMPICH Release date: Thu Apr  7\n"), "MPICH 4.0.2");
        assert_eq!(
            short("Intel(R) MPI Library 2021.9 for Linux* OS\n"),
            "Intel(R) MPI Library 2021.9 for Linux* OS"
        );
        assert_eq!(short(""), "an MPI without a name");
        assert_eq!(short(&"x".repeat(8192)).len(), 80);
    }

    #[test]
    fn empty_buffers_have_addresses_that_mean_nothing_else() {
        let (from, to) = (start(&[]), start_mut(&mut []));
        assert!(from.addr() > 4096 && to.addr() > 4096);
        assert_ne!(from.addr(), to.addr());
        let mut bytes = [1, 2];
        assert_eq!(start(&bytes), bytes.as_ptr());
        assert_eq!(start_mut(&mut bytes).addr(), bytes.as_ptr().addr());
    }
}
