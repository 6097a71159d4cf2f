//! `single_file`: a line of input is a key and the sides of its tensor, `a.weight 320 4 3 3`.
#![no_main]

use calotype::checkpoint::single_file::{from_single_file, recognise, unexpected};
use libfuzzer_sys::fuzz_target;

#[path = "../shapes.rs"]
mod shapes;

fuzz_target!(|text: &str| {
    let shapes = shapes::parse(text);
    if let Ok(recognised) = recognise(&shapes) {
        for (key, shape) in &shapes {
            for target in from_single_file(key, &recognised) {
                let _ = target.change.shape(shape);
            }
        }
        assert!(unexpected(&shapes, &recognised).len() < shapes.len());
    }
});
