//! `npz`: a zip of arrays and texts.
#![no_main]

use calotype::files::npz;
use libfuzzer_sys::fuzz_target;

#[path = "../file.rs"]
mod file;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(npz) = npz::read(&file::with(bytes, "npz")) {
        for array in npz.arrays.values() {
            assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
        }
    }
});
