//! The machine's MPI library: found, opened, and its functions taken.

use std::ffi::{OsStr, c_int, c_void};
use std::path::{Path, PathBuf};

use crate::abi::{self, Abi, Address};
use crate::error::MpiError;
use crate::functions::{Functions, Table};
use crate::launcher;

#[cfg(not(unix))]
use libloading::Library;
#[cfg(unix)]
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Open MPI's names.
const OPEN_MPI: &[&str] = if cfg!(target_os = "macos") { &["libmpi.40.dylib"] } else { &["libmpi.so.40"] };
/// MPICH's, Intel's and Cray's name, and Debian's of MPICH.
const MPICH: &[&str] = if cfg!(target_os = "macos") {
    &["libmpi.12.dylib", "libmpich.12.dylib"]
} else {
    &["libmpi.so.12", "libmpich.so.12"]
};
/// The standard interface, of any library. MPICH called it 0 up to 5.0.1.
const STANDARD: &[&str] = if cfg!(target_os = "macos") {
    &["libmpi_abi.1.dylib", "libmpi_abi.0.dylib"]
} else {
    &["libmpi_abi.so.1", "libmpi_abi.so.0"]
};
/// Whatever was chosen on this machine.
const PLAIN: &[&str] = if cfg!(target_os = "macos") { &["libmpi.dylib"] } else { &["libmpi.so"] };

/// The names to try. Where several libraries are installed, that of the launcher comes first.
fn names(like_mpich: bool) -> impl Iterator<Item = &'static str> {
    let order =
        if like_mpich { [MPICH, STANDARD, PLAIN, OPEN_MPI] } else { [OPEN_MPI, STANDARD, PLAIN, MPICH] };
    order.into_iter().flatten().copied()
}

/// The functions of `library`, or of the first that can be opened. Both stay until the process ends: MPI's libraries
/// start threads, which must not lose the ground under them.
pub(crate) fn load(library: Option<&Path>) -> Result<&'static dyn Functions, MpiError> {
    let candidates: Vec<PathBuf> = match library {
        Some(file) => vec![file.to_owned()],
        None => names(launcher::is_like_mpich()).map(PathBuf::from).collect(),
    };
    let mut tried = Vec::new();
    for file in candidates {
        match open(file.as_os_str()) {
            Ok(opened) => return functions(&file, Box::leak(Box::new(opened))),
            Err(error) => tried.push(reason(&file, &error)),
        }
    }
    Err(MpiError::NoLibrary { named: library.is_some(), tried })
}

/// Opens a library so that its symbols are seen by the plug-ins that it opens itself, as Open MPI's need.
fn open(name: &OsStr) -> Result<Library, libloading::Error> {
    // SAFETY: opening a library runs its initialisers. That of MPI's libraries is done by every program that uses them;
    // that another file is none is the user's word, as it is for any program that is started.
    #[cfg(unix)]
    return unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) };
    // SAFETY: as above.
    #[cfg(not(unix))]
    return unsafe { Library::new(name) };
}

/// The name, and why it cannot be opened where that is more than that it is not there.
fn reason(file: &Path, error: &libloading::Error) -> String {
    let name = file.display().to_string();
    let said = match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    };
    let absent = said.starts_with(&name) && said.contains("No such file");
    if absent && !file.is_file() { format!("`{name}`: not there") } else { format!("`{name}`: {said}") }
}

fn functions(file: &Path, library: &'static Library) -> Result<&'static dyn Functions, MpiError> {
    let find = |symbol: &'static str| {
        address(library, symbol).ok_or_else(|| MpiError::NotMpi { library: file.to_owned(), symbol })
    };
    // Before any function is called, so that nothing of a library that is not MPI's is.
    find("MPI_Init_thread")?;
    // SAFETY: `library` is never closed; its functions have the names of MPI's, and `abi_of` says what its handles are.
    Ok(unsafe {
        match abi_of(file, library) {
            Abi::OpenMpi => {
                let [world, own, byte, errors] = abi::OPEN_MPI_OBJECTS.map(find);
                let objects = [Address(world?), Address(own?), Address(byte?), Address(errors?)];
                Box::leak(Box::new(Table::of(abi::open_mpi(objects), find)?))
            }
            Abi::Mpich => Box::leak(Box::new(Table::of(abi::MPICH, find)?)),
            Abi::Standard => Box::leak(Box::new(Table::of(abi::STANDARD, find)?)),
        }
    })
}

/// By the file's name, by the name of the file that it leads to, by what is in it.
fn abi_of(file: &Path, library: &Library) -> Abi {
    let linked = || Abi::by_name(&file.canonicalize().ok()?);
    Abi::by_name(file).or_else(linked).unwrap_or_else(|| {
        if address(library, abi::OPEN_MPI_OBJECTS[0]).is_some() {
            Abi::OpenMpi
        } else if has_standard_abi(library) {
            Abi::Standard
        } else {
            Abi::Mpich
        }
    })
}

/// What MPI 5's `MPI_Abi_get_version` says: a version, or −1 from a library with another interface.
fn has_standard_abi(library: &Library) -> bool {
    let Some(address) = address(library, "MPI_Abi_get_version") else { return false };
    let (mut version, mut subversion): (c_int, c_int) = (-1, -1);
    // SAFETY: the function of that name takes two pointers to `int` and may be called before MPI is initialised.
    unsafe {
        let ask: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = std::mem::transmute(address);
        ask(&mut version, &mut subversion) == 0 && version >= 1
    }
}

/// Where a symbol is, if it is there.
fn address(library: &Library, symbol: &str) -> Option<*mut c_void> {
    // SAFETY: the address of whatever has the name; nothing is called or read through it here.
    let found = unsafe { library.get::<*mut c_void>(symbol) }.ok()?;
    Some(*found).filter(|address| !address.is_null())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{load, names};
    use crate::abi::Abi;
    use crate::error::MpiError;

    fn refused(file: &Path) -> MpiError {
        match load(Some(file)) {
            Ok(_) => panic!("{} was loaded", file.display()),
            Err(error) => error,
        }
    }

    #[test]
    fn the_launchers_library_is_tried_first() {
        let abi = |name: &str| Abi::by_name(Path::new(name));
        assert_eq!(names(false).next().and_then(abi), Some(Abi::OpenMpi));
        assert_eq!(names(true).next().and_then(abi), Some(Abi::Mpich));
        // Both orders have the same names.
        let sorted = |like_mpich| {
            let mut all: Vec<_> = names(like_mpich).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(false), sorted(true));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let text = refused(Path::new("/nowhere/libmpi.so.40")).to_string();
        let (what, hint) = text.split_once("\nhint: ").unwrap();
        assert_eq!(what, "no MPI library could be opened; tried\n  - `/nowhere/libmpi.so.40`: not there");
        assert!(hint.contains("--mpi-library"), "{hint}");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_with_the_systems_reason() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let text = refused(&file).to_string();
        assert!(text.contains("Cargo.toml") && !text.contains("not there"), "{text}");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_library_without_mpi_is_refused_before_anything_is_called() {
        let text = refused(Path::new("libc.so.6")).to_string();
        assert!(
            text.starts_with("`libc.so.6` has no `MPI_Init_thread`: it is not MPI's library for C"),
            "{text}"
        );
    }
}
