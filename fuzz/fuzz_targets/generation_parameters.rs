//! `generation_parameters`: any text is read, and what is written of it can be read.
#![no_main]

use calotype::pipeline::generation_parameters::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parameters = parse(text);
    assert!(parameters.fields.iter().all(|(key, _)| parameters.get(key).is_some()));
    parse(&parameters.to_string());
});
