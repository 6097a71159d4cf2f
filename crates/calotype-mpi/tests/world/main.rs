//! Ranks under real launchers: this program starts itself under each `mpirun` that is there.
//!
//! Without one it says so and passes. Debian: `apt install openmpi-bin mpich`. Another installation, such as one of
//! the standard interface: `CALOTYPE_TEST_MPIRUN=FILE CALOTYPE_TEST_MPI_LIBRARY=FILE`. An argument that is no option
//! chooses cases whose name has it.

mod installation;
mod launch;
mod rank;

use std::process::ExitCode;

use installation::Installation;
use launch::Ended;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [first, case, rest @ ..] if first == launch::AS_RANK => rank::run(case, rest),
        // What runners of tests ask: there are no tests by name, and none are ignored.
        all if all.iter().any(|argument| argument == "--list" || argument == "--ignored") => {
            ExitCode::SUCCESS
        }
        all => run(|name| !all.iter().any(|part| !part.starts_with('-') && !name.contains(&**part))),
    }
}

fn run(wanted: impl Fn(&str) -> bool) -> ExitCode {
    let installations = Installation::all();
    if installations.is_empty() {
        println!("skipped: no mpirun of Open MPI or MPICH here (Debian: apt install openmpi-bin mpich)");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let mut case = |name: String, check: &dyn Fn() -> Result<Ended, String>| {
        if wanted(&name) {
            match check() {
                Ok(ended) => println!("{name} ... ok, {:.1} s", ended.seconds),
                Err(reason) => {
                    println!("{name} ... FAILED: {reason}");
                    failed += 1;
                }
            }
        }
    };
    for mpi in &installations {
        let name = |what: &str| format!("{}: {what}", mpi.name);
        for &ranks in mpi.ranks {
            case(name(&format!("collective calls of {ranks} ranks")), &|| {
                mpi.launch(ranks, "collectives", mpi.library())?.code(0)?.said("done", ranks)
            });
        }
        let most = *mpi.ranks.last().expect("every installation is tried with some ranks");
        let two = |case: &str| mpi.launch(2, case, mpi.library());
        case(name("abort ends all with its code"), &|| mpi.launch(most, "abort", mpi.library())?.code(7));
        case(name("abort with 0 is a failure"), &|| two("abort-with-0")?.code(1));
        case(name("a watchdog ends all where a rank sleeps"), &|| {
            mpi.launch(most, "watchdog", mpi.library())?.code(75)
        });
        case(name("a watchdog ends all where a rank is stopped"), &|| {
            mpi.launch(most, "stopped", mpi.library())?.code(75)
        });
        case(name("a panic ends all"), &|| {
            mpi.launch(most, "panic", mpi.library())?.failed()?.said("panicked", 1)
        });
        case(name("a rank that leaves with a code ends all"), &|| {
            mpi.launch(most, "leaves", mpi.library())?.failed()
        });
        case(name("a rank that leaves while its MPI waits ends all"), &|| {
            mpi.launch(most, "leaves-from-another-thread", mpi.library())?.failed()
        });
        case(name("a killed rank ends all"), &|| mpi.launch(most, "killed", mpi.library())?.failed());
        case(name("counts that do not add up send nothing"), &|| two("counts")?.code(0)?.said("done", 2));
        case(name("an error of MPI comes back"), &|| {
            two("truncated")?.code(9)?.said("`MPI_Alltoallv` failed", 1)
        });
        for other in installations.iter().filter(|other| other.family != mpi.family) {
            case(format!("{}'s library under the launcher of {}", other.name, mpi.name), &|| {
                let library = other.library.as_deref().unwrap_or(other.family.debian_library());
                // MPICH 5 sees by itself that Open MPI's launcher is none of its own, and ends the process.
                let ended = mpi.launch(2, "refused", library)?.failed()?;
                ended.said_one_of(&["launcher of another MPI", "unsupported PMI version"])
            });
        }
    }
    case("without a launcher".to_owned(), &|| installations[0].alone()?.code(0)?.said("done", 1));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
