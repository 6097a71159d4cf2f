//! MPI's functions as they are in C, one table for each kind of handle.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use crate::abi::Constants;

/// Part r of a buffer is `counts[r]` bytes from `places[r]` on.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) counts: &'a [c_int],
    pub(crate) places: &'a [c_int],
}

/// The functions of one library. Each answers with MPI's code, which is 0 for success.
///
/// # Safety
/// Each method but `abort` and `version`: from the thread that called `init` and after it returned 0, before `finalize`.
/// `init`: once in a process. `abort`: between the two, too.
/// Collective ones: pointers are valid for the bytes that counts and places reach, and are not 1, which is
/// `MPI_IN_PLACE` in some libraries; counts and places have an element for each rank.
pub(crate) trait Functions: Send + Sync {
    /// Code, and whether the library allows other threads beside the one that calls it.
    unsafe fn init(&self) -> (c_int, bool);
    /// Errors come back from calls, where MPI would end the process.
    unsafe fn return_errors(&self) -> c_int;
    unsafe fn rank(&self, rank: &mut c_int) -> c_int;
    unsafe fn count(&self, count: &mut c_int) -> c_int;
    unsafe fn all_to_all(&self, send: *const u8, sent: Parts, receive: *mut u8, received: Parts) -> c_int;
    unsafe fn all_gather(&self, send: *const u8, count: c_int, receive: *mut u8, received: Parts) -> c_int;
    /// What is sent lies at its place of `receive`.
    unsafe fn all_gather_in_place(&self, receive: *mut u8, received: Parts) -> c_int;
    unsafe fn broadcast(&self, bytes: *mut u8, count: c_int, root: c_int) -> c_int;
    unsafe fn barrier(&self) -> c_int;
    unsafe fn finalize(&self) -> c_int;
    unsafe fn abort(&self, code: c_int);
    /// What a code means.
    unsafe fn error_text(&self, code: c_int) -> String;
    /// What the library calls itself; may be asked before `init`.
    unsafe fn version(&self) -> String;
}

macro_rules! table {
    ($($field:ident: $symbol:literal = fn($($argument:ty),*);)*) => {
        /// Pointers to the functions, with the handles that they take.
        pub(crate) struct Table<H> {
            pub(crate) constants: Constants<H>,
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl<H: Copy> Table<H> {
            /// `find` gives the address of a function by its name, or an error.
            ///
            /// # Safety
            /// The addresses are those of MPI's functions, of a library whose handles are `H`, and remain so.
            pub(crate) unsafe fn of<E>(
                constants: Constants<H>,
                find: impl Fn(&'static str) -> Result<*mut c_void, E>,
            ) -> Result<Self, E> {
                Ok(Self {
                    constants,
                    // SAFETY: the caller's promise. The types are those of MPI's C interface, in which all of these
                    // functions return an `int`; a pointer to a function and one to an object have one size where
                    // libraries can be loaded.
                    $($field: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> c_int>(find($symbol)?)
                    },)*
                })
            }
        }
    };
}

table! {
    init_thread: "MPI_Init_thread" = fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int);
    comm_set_errhandler: "MPI_Comm_set_errhandler" = fn(H, H);
    comm_rank: "MPI_Comm_rank" = fn(H, *mut c_int);
    comm_size: "MPI_Comm_size" = fn(H, *mut c_int);
    alltoallv: "MPI_Alltoallv" = fn(
        *const c_void, *const c_int, *const c_int, H, *mut c_void, *const c_int, *const c_int, H, H
    );
    allgatherv: "MPI_Allgatherv" = fn(*const c_void, c_int, H, *mut c_void, *const c_int, *const c_int, H, H);
    bcast: "MPI_Bcast" = fn(*mut c_void, c_int, H, c_int, H);
    mpi_barrier: "MPI_Barrier" = fn(H);
    mpi_finalize: "MPI_Finalize" = fn();
    mpi_abort: "MPI_Abort" = fn(H, c_int);
    error_string: "MPI_Error_string" = fn(c_int, *mut c_char, *mut c_int);
    get_library_version: "MPI_Get_library_version" = fn(*mut c_char, *mut c_int);
}

/// `MPI_MAX_LIBRARY_VERSION_STRING`, the largest of all libraries', and more than any `MPI_MAX_ERROR_STRING`.
const LONGEST_TEXT: usize = 8192;

/// The text that `fill` writes to a buffer of [`LONGEST_TEXT`] bytes.
fn text(fill: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> String {
    // One more, which stays 0: a text that fills its buffer ends, too.
    let mut bytes = [0u8; LONGEST_TEXT + 1];
    let code = fill(bytes.as_mut_ptr().cast(), &mut 0);
    match CStr::from_bytes_until_nul(&bytes) {
        Ok(text) if code == 0 => text.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

impl<H: Copy + Send + Sync> Functions for Table<H> {
    unsafe fn init(&self) -> (c_int, bool) {
        let mut provided = 0;
        let required = self.constants.thread_funneled;
        // SAFETY: the caller's promise. MPI takes null for arguments of a program that it need not see (MPI 2 and later).
        let code = unsafe { (self.init_thread)(ptr::null_mut(), ptr::null_mut(), required, &mut provided) };
        // The levels are numbered upwards in every interface.
        (code, provided >= required)
    }

    unsafe fn return_errors(&self) -> c_int {
        let Constants { comm_world, comm_self, errors_return, .. } = self.constants;
        // SAFETY: the caller's promise; the handles are the library's own.
        // Errors that belong to no communicator are those of MPI_COMM_SELF since MPI 4.
        unsafe {
            match (self.comm_set_errhandler)(comm_world, errors_return) {
                0 => (self.comm_set_errhandler)(comm_self, errors_return),
                code => code,
            }
        }
    }

    unsafe fn rank(&self, rank: &mut c_int) -> c_int {
        // SAFETY: the caller's promise; one `int` is written.
        unsafe { (self.comm_rank)(self.constants.comm_world, rank) }
    }

    unsafe fn count(&self, count: &mut c_int) -> c_int {
        // SAFETY: the caller's promise; one `int` is written.
        unsafe { (self.comm_size)(self.constants.comm_world, count) }
    }

    unsafe fn all_to_all(&self, send: *const u8, sent: Parts, receive: *mut u8, received: Parts) -> c_int {
        let Constants { comm_world, byte, .. } = self.constants;
        // SAFETY: the caller's promise. A part that is longer than its place is an error to MPI, and is not written.
        unsafe {
            (self.alltoallv)(
                send.cast(),
                sent.counts.as_ptr(),
                sent.places.as_ptr(),
                byte,
                receive.cast(),
                received.counts.as_ptr(),
                received.places.as_ptr(),
                byte,
                comm_world,
            )
        }
    }

    unsafe fn all_gather(&self, send: *const u8, count: c_int, receive: *mut u8, received: Parts) -> c_int {
        let Constants { comm_world, byte, .. } = self.constants;
        let (counts, places) = (received.counts.as_ptr(), received.places.as_ptr());
        // SAFETY: the caller's promise, as above.
        unsafe {
            (self.allgatherv)(send.cast(), count, byte, receive.cast(), counts, places, byte, comm_world)
        }
    }

    unsafe fn all_gather_in_place(&self, receive: *mut u8, received: Parts) -> c_int {
        let Constants { comm_world, byte, in_place, .. } = self.constants;
        let (counts, places) = (received.counts.as_ptr(), received.places.as_ptr());
        // SAFETY: the caller's promise, as above; number and type of what is sent are ignored.
        unsafe { (self.allgatherv)(in_place.0, 0, byte, receive.cast(), counts, places, byte, comm_world) }
    }

    unsafe fn broadcast(&self, bytes: *mut u8, count: c_int, root: c_int) -> c_int {
        let Constants { comm_world, byte, .. } = self.constants;
        // SAFETY: the caller's promise, as above.
        unsafe { (self.bcast)(bytes.cast(), count, byte, root, comm_world) }
    }

    unsafe fn barrier(&self) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { (self.mpi_barrier)(self.constants.comm_world) }
    }

    unsafe fn finalize(&self) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { (self.mpi_finalize)() }
    }

    unsafe fn abort(&self, code: c_int) {
        // SAFETY: the caller's promise.
        unsafe { (self.mpi_abort)(self.constants.comm_world, code) };
    }

    unsafe fn error_text(&self, code: c_int) -> String {
        // SAFETY: the caller's promise; the buffer is longer than any library's texts.
        text(|buffer, length| unsafe { (self.error_string)(code, buffer, length) })
    }

    unsafe fn version(&self) -> String {
        // SAFETY: as above; MPI allows this call before it is initialised.
        text(|buffer, length| unsafe { (self.get_library_version)(buffer, length) })
    }
}
