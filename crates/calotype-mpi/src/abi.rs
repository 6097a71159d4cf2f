//! The binary interfaces of MPI libraries: what their handles are, and their values.
//!
//! MPI's functions are the same everywhere; `MPI_COMM_WORLD` is the address of an object in Open MPI, a number of 32 bits
//! in MPICH, a small number in place of an address in the standard interface (MPI 5.0, chapter 20).

use std::ffi::{c_int, c_void};
use std::path::Path;

/// The families of binary interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    /// Open MPI's own: handles are addresses of the library's objects.
    OpenMpi,
    /// MPICH's own, which Intel's, Cray's and MVAPICH's libraries share: handles are numbers.
    Mpich,
    /// MPI 5's, of any library that is called `libmpi_abi`.
    Standard,
}

impl Abi {
    /// By the name of the library's file, where that says it.
    ///
    /// This is asked first: Open MPI's `libmpi_abi` is built on its `libmpi`, so that the symbols of both are found in it.
    pub(crate) fn by_name(file: &Path) -> Option<Abi> {
        let name = file.file_name()?.to_str()?;
        let is = |part: &str| name.contains(part);
        if is("libmpi_abi") {
            Some(Abi::Standard)
        } else if is("libmpich") || is("libmpi.so.12") || is("libmpi.12.") {
            Some(Abi::Mpich)
        } else if is("libmpi.so.40") || is("libmpi.40.") {
            Some(Abi::OpenMpi)
        } else {
            None
        }
    }
}

/// The address of an object inside the library, or the standard's number in its place.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) *mut c_void);

// SAFETY: it is never read through, only handed back to the library, which is never unloaded.
unsafe impl Send for Address {}
// SAFETY: as above; it has no interior that could be shared.
unsafe impl Sync for Address {}

/// The constants that are used here. `H` is what a handle is in C, the same for communicators, types and error handlers.
pub(crate) struct Constants<H> {
    pub(crate) comm_world: H,
    pub(crate) comm_self: H,
    pub(crate) byte: H,
    pub(crate) errors_return: H,
    pub(crate) thread_funneled: c_int,
    /// `MPI_IN_PLACE`: what is sent lies in the buffer that receives.
    pub(crate) in_place: Address,
}

/// Names of Open MPI's objects, in the order of [`Constants`]' handles.
pub(crate) const OPEN_MPI_OBJECTS: [&str; 4] =
    ["ompi_mpi_comm_world", "ompi_mpi_comm_self", "ompi_mpi_byte", "ompi_mpi_errors_return"];

/// Open MPI's `mpi.h`, with the addresses of [`OPEN_MPI_OBJECTS`].
pub(crate) fn open_mpi([comm_world, comm_self, byte, errors_return]: [Address; 4]) -> Constants<Address> {
    Constants { comm_world, comm_self, byte, errors_return, thread_funneled: 1, in_place: number(1) }
}

/// MPICH's `mpi.h`.
pub(crate) const MPICH: Constants<c_int> = Constants {
    comm_world: 0x4400_0000,
    comm_self: 0x4400_0001,
    byte: 0x4c00_010d,
    errors_return: 0x5400_0001,
    thread_funneled: 1,
    in_place: number(usize::MAX),
};

/// MPI 5.0's `mpi.h`, as MPICH 5 installs it (`mpi_abi.h`).
pub(crate) const STANDARD: Constants<Address> = Constants {
    comm_world: number(0x101),
    comm_self: number(0x102),
    byte: number(0x247),
    errors_return: number(0x143),
    thread_funneled: 1024,
    in_place: number(1),
};

const fn number(value: usize) -> Address {
    Address(std::ptr::without_provenance_mut(value))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Abi;

    #[test]
    fn the_name_of_the_file_decides_where_it_can() {
        let of = |name: &str| Abi::by_name(Path::new(name));
        assert_eq!(of("libmpi.so.40"), Some(Abi::OpenMpi));
        assert_eq!(of("/usr/lib/x86_64-linux-gnu/openmpi/lib/libmpi.so.40.30.4"), Some(Abi::OpenMpi));
        assert_eq!(of("/usr/lib/x86_64-linux-gnu/libmpich.so.12"), Some(Abi::Mpich));
        assert_eq!(of("/opt/intel/oneapi/mpi/latest/lib/libmpi.so.12"), Some(Abi::Mpich));
        assert_eq!(of("/home/someone/venv/lib/libmpi_abi.so.1"), Some(Abi::Standard));
        // A folder's name says nothing, and neither does the plain one.
        assert_eq!(of("/opt/libmpi_abi/libmpi.so"), None);
        assert_eq!(of("libmpi.so"), None);
        assert_eq!(of("/"), None);
    }
}
