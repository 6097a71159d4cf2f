//! `pickle`: a zip, a tar, a pickle of 2019 or a bare one; nothing in it is called.
#![no_main]

use calotype::files::pickle;
use libfuzzer_sys::fuzz_target;

#[path = "../file.rs"]
mod file;

fuzz_target!(|bytes: &[u8]| {
    let _ = pickle::open(&file::with(bytes, "pt"));
});
