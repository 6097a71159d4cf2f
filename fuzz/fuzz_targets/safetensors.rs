//! `safetensors`: the tensors, all their numbers, and the metadata.
#![no_main]

use calotype::files::safetensors;
use libfuzzer_sys::fuzz_target;

#[path = "../file.rs"]
mod file;

fuzz_target!(|bytes: &[u8]| {
    let path = file::with(bytes, "safetensors");
    let _ = safetensors::read_metadata(&path);
    let _ = safetensors::read(&path);
});
