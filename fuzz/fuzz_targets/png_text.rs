//! `png_text`: what is read can be written into a picture, and is read from it again.
#![no_main]

use calotype::files::png_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = png_text::insert(bytes, &[("parameters", "a cat")]);
    if let Ok(texts) = png_text::read(bytes) {
        let with_one = png_text::insert(bytes, &[("parameters", "a cat")]).expect("a PNG that was read");
        let first = ("parameters".to_owned(), "a cat".to_owned());
        assert_eq!(
            png_text::read(&with_one).expect("a PNG that was written"),
            [&[first], &texts[..]].concat()
        );
    }
});
