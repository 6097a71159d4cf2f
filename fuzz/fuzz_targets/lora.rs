//! `lora`: a line of input is a name and the sides of its tensor; after an empty line come the U-Net's own, and
//! after another PEFT's configuration.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use calotype::checkpoint::lora::{ADAPTER_CONFIG, Part, assign};
use libfuzzer_sys::fuzz_target;

#[path = "../shapes.rs"]
mod shapes;

fuzz_target!(|text: &str| {
    let mut texts = text.splitn(3, "\n\n");
    let [tensors, unet] = [(); 2].map(|()| shapes::parse(texts.next().unwrap_or_default()));
    let metadata = texts.next().map(|config| (ADAPTER_CONFIG.to_owned(), config.to_owned()));
    let model = BTreeMap::from([(Part::Unet, unet)]);
    if let Ok(found) = assign(Path::new("a.safetensors"), &tensors, &metadata.into_iter().collect(), &model) {
        assert!(
            found
                .entries
                .iter()
                .all(|entry| entry.rank > 0 && model[&entry.part].contains_key(&entry.target))
        );
    }
});
