//! `lora`: a line of input is a name and the sides of its tensor; after an empty line come the U-Net's own, and
//! after another PEFT's configuration.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use calotype::checkpoint::lora::{ADAPTER_CONFIG, LoraFile, assign};
use calotype::model::ComponentKind;
use libfuzzer_sys::fuzz_target;

#[path = "../shapes.rs"]
mod shapes;

fuzz_target!(|text: &str| {
    let mut texts = text.splitn(3, "\n\n");
    let [tensors, unet] = [(); 2].map(|()| shapes::parse(texts.next().unwrap_or_default()));
    let metadata = texts.next().map(|config| (ADAPTER_CONFIG.to_owned(), config.to_owned()));
    let metadata = metadata.into_iter().collect();
    let model = BTreeMap::from([(ComponentKind::Unet, unet)]);
    let file = LoraFile { path: Path::new("a.safetensors"), tensors: &tensors, metadata: &metadata };
    if let Ok(found) = assign(file, &model) {
        assert!(
            found
                .entries
                .iter()
                .all(|entry| entry.rank != Some(0) && model[&entry.component].contains_key(&entry.target))
        );
    }
});
