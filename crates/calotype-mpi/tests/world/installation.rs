//! The MPI installations of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose launcher it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    OpenMpi,
    Mpich,
}

impl Family {
    /// What Debian calls the library.
    pub(crate) fn debian_library(self) -> &'static str {
        match self {
            Family::OpenMpi => "libmpi.so.40",
            Family::Mpich => "libmpich.so.12",
        }
    }

    /// Options with which more ranks than cores work, for root too.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Family::OpenMpi => &[
                "--allow-run-as-root",
                "--oversubscribe",
                "--bind-to",
                "none",
                "--mca",
                "mpi_yield_when_idle",
                "1",
            ],
            Family::Mpich => &[],
        }
    }
}

pub(crate) struct Installation {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) launcher: PathBuf,
    /// `None`: what the crate finds itself.
    pub(crate) library: Option<String>,
    /// Numbers of ranks to try. Waiting ranks of MPICH leave no core to the others, so 2 are all.
    pub(crate) ranks: &'static [usize],
}

impl Installation {
    /// Those in `PATH`, and the one that the environment names.
    pub(crate) fn all() -> Vec<Installation> {
        let mut all = Vec::new();
        for (family, name) in [(Family::OpenMpi, "mpirun.openmpi"), (Family::Mpich, "mpirun.mpich")] {
            let plain = || in_path("mpirun").filter(|launcher| family_of(launcher) == Some(family));
            if let Some(launcher) = in_path(name).or_else(plain) {
                all.push(Installation::new(family, launcher, None));
            }
        }
        let variable = |name| std::env::var(name).ok();
        if let Some(launcher) = variable("CALOTYPE_TEST_MPIRUN").map(PathBuf::from) {
            let family =
                family_of(&launcher).expect("CALOTYPE_TEST_MPIRUN is the launcher of Open MPI or MPICH");
            all.push(Installation::new(family, launcher, variable("CALOTYPE_TEST_MPI_LIBRARY")));
        }
        all
    }

    fn new(family: Family, launcher: PathBuf, library: Option<String>) -> Self {
        let (name, ranks): (_, &[usize]) = match family {
            Family::OpenMpi => ("Open MPI", &[1, 2, 3, 4]),
            Family::Mpich => ("MPICH", &[1, 2]),
        };
        let name = library.as_ref().map_or(name.to_owned(), |library| format!("{name} ({library})"));
        Installation { name, family, launcher, library, ranks }
    }

    /// The library's name for [`crate::rank`]; empty for the crate's choice.
    pub(crate) fn library(&self) -> &str {
        self.library.as_deref().unwrap_or_default()
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn family_of(launcher: &Path) -> Option<Family> {
    let output = Command::new(launcher).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).to_uppercase();
    if text.contains("OPEN MPI") || text.contains("OPEN-MPI") || text.contains("OPENRTE") {
        Some(Family::OpenMpi)
    } else if text.contains("HYDRA") || text.contains("MPICH") {
        Some(Family::Mpich)
    } else {
        None
    }
}
