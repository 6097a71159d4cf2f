//! MPI, loaded when the program runs: bytes between the processes (ranks) of one training run.
//!
//! Nothing of MPI is needed to build. [`World::join`] opens the machine's library, Open MPI, MPICH and what has its
//! binary interface (Intel, Cray, MVAPICH), or the standard binary interface of MPI 5, and the calls are safe from there:
//!
//! ```no_run
//! # fn main() -> Result<(), calotype_mpi::MpiError> {
//! let world = calotype_mpi::World::join(None)?;
//! let mut seed = if world.rank() == 0 { [7; 8] } else { [0; 8] };
//! world.broadcast(&mut seed, 0)?;
//! world.finalize()
//! # }
//! ```
//!
//! - A [`World`] stays on the thread that joined. Other threads may hold an [`AbortHandle`].
//! - Collective calls are made by all ranks in the same order, with counts that agree. A rank that makes another call, or
//!   none, leaves the others waiting: MPI has no time limits, the caller needs a watchdog.
//! - After an error nothing is finalised: finalising waits for ranks that may never come. The process leaves with a code
//!   other than 0, and `mpirun` or `srun` ends the others.
//!
//! `docs/decisions/mpi.md` says why it is done so.

#![deny(clippy::undocumented_unsafe_blocks, missing_docs)]
#![warn(clippy::match_bool, clippy::todo, clippy::unimplemented)]

mod abi;
mod abort;
mod counts;
mod error;
mod functions;
mod launcher;
mod library;
mod world;

pub use abort::AbortHandle;
pub use error::MpiError;
pub use launcher::{Launched, launched};
pub use world::World;
