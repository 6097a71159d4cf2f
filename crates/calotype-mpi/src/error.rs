//! What can go wrong: what, where, expected, got, and what to do next.

use std::path::PathBuf;

use crate::Launched;

/// What can go wrong with MPI. The text says what and where, expected and got; where something can be done, its last line
/// begins with `hint: `.
///
/// After any of these but [`MpiError::NoLibrary`], leave the process with a code other than 0, or call
/// [`World::abort`](crate::World::abort): the other ranks are waiting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MpiError {
    /// No library could be opened.
    #[error("no MPI library could be opened; tried{}\nhint: {}", list(.tried), where_to_find_one(*.named))]
    NoLibrary {
        /// Whether the user named the one that was tried.
        named: bool,
        /// The names that were tried, with the system's reason where the file is there.
        tried: Vec<String>,
    },
    /// A library was opened, but it lacks a function or an object of MPI.
    #[error(
        "`{library}` has no `{symbol}`: it is not MPI's library for C\nhint: that is `libmpi.so.40` of Open MPI, \
         `libmpi.so.12` or `libmpich.so.12` of MPICH, Intel and Cray, `libmpi_abi.so.1` of the standard interface; name \
         it with `--mpi-library FILE`"
    )]
    NotMpi {
        /// Its file.
        library: PathBuf,
        /// What it lacks.
        symbol: &'static str,
    },
    /// The process has joined before; MPI can be initialised once.
    #[error("MPI was joined before in this process, and can be joined once only")]
    JoinedBefore,
    /// The library does not allow threads beside the one that calls it.
    #[error(
        "{library}: expected an MPI that allows threads beside the one that calls it (FUNNELED), got none\nhint: take an \
         MPI that was built with threads, with `--mpi-library FILE`"
    )]
    Threads {
        /// What the library calls itself.
        library: String,
    },
    /// The launcher started several ranks, but each is alone: it is the launcher of another MPI.
    #[error(
        "{library} sees 1 rank where the launcher started {} (`{}`): this is the launcher of another MPI\n\
         hint: {}",
        .launched.count, .launched.variable, right_launcher(.launched)
    )]
    WrongLauncher {
        /// What the library calls itself.
        library: String,
        /// What the launcher says.
        launched: Launched,
    },
    /// Counts of a call that do not add up.
    #[error("MPI `{call}`: counts of `{of}`: expected {expected}, got {got}")]
    Counts {
        /// The call.
        call: &'static str,
        /// The buffer.
        of: &'static str,
        /// What was expected.
        expected: String,
        /// What was given.
        got: usize,
    },
    /// More bytes than MPI's counts can say.
    #[error(
        "MPI `{call}`: `{of}`: expected at most {most} bytes in one call, got {got}\nhint: send it in several"
    )]
    TooLarge {
        /// The call.
        call: &'static str,
        /// The buffer.
        of: &'static str,
        /// The limit.
        most: usize,
        /// What was given.
        got: usize,
    },
    /// A root that is no rank.
    #[error("MPI `{call}`: expected a root below {count}, the number of ranks, got {got}")]
    Root {
        /// The call.
        call: &'static str,
        /// How many ranks there are.
        count: usize,
        /// What was given.
        got: usize,
    },
    /// A function of the library returned an error.
    #[error(
        "{library}: `{function}` failed with code {code}: {text}\nhint: if another rank ended before, look at its message \
         first; else the ranks may differ in what they do"
    )]
    Call {
        /// What the library calls itself.
        library: String,
        /// MPI's function.
        function: &'static str,
        /// Its code.
        code: i32,
        /// What the library says of the code.
        text: String,
    },
}

/// What to do where no library could be opened.
fn where_to_find_one(named: bool) -> &'static str {
    if named {
        "`--mpi-library` takes MPI's library for C with its version, such as `/opt/openmpi/lib/libmpi.so.40`; libraries \
         that it needs must be found, too: `ldd FILE` names those that are not"
    } else {
        "install one (Debian: `apt install openmpi-bin`, or `mpich`; without root: `pip install mpich`), load the \
         cluster's module (`module load openmpi`), or name the file with `--mpi-library FILE`"
    }
}

/// What to do under the launcher of another MPI.
fn right_launcher(launched: &Launched) -> &'static str {
    if launched.variable.starts_with("SLURM") {
        "say which interface the library speaks: `srun --mpi=pmix` for Open MPI, `srun --mpi=pmi2` for MPICH and Intel \
         (`srun --mpi=list` has those that are there)"
    } else {
        "start it with the `mpirun` of this library, or name the launcher's library with `--mpi-library FILE`: \
         `mpirun --version` says whose launcher it is"
    }
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  - {line}")).collect()
}
