//! `safetensors_io`: the tensors, all their numbers, and the metadata.
#![no_main]

use calotype::formats::safetensors_io;
use libfuzzer_sys::fuzz_target;

#[path = "../file.rs"]
mod file;

fuzz_target!(|bytes: &[u8]| {
    let path = file::with(bytes, "safetensors");
    let _ = safetensors_io::read_metadata(&path);
    let _ = safetensors_io::read(&path);
});
