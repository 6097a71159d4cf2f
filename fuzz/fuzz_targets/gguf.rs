//! `gguf`: the metadata, the tensors, and all their numbers.
#![no_main]

use calotype::files::gguf;
use libfuzzer_sys::fuzz_target;

#[path = "../file.rs"]
mod file;

fuzz_target!(|bytes: &[u8]| {
    let path = file::with(bytes, "gguf");
    let _ = gguf::read_metadata(&path);
    for tensor in gguf::open(&path).into_iter().flat_map(|tensors| tensors.into_values()) {
        let count: usize = tensor.shape().iter().product();
        let _ = tensor.is_finite();
        assert_eq!(tensor.to_f32().len(), count);
    }
});
