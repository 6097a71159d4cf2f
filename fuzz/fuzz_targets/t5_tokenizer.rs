//! `t5_tokenizer`: a `tokenizer.json` where the bytes begin as JSON does, a `spiece.model` otherwise, and texts that it
//! encodes.
#![no_main]

use calotype::text_encoder::T5Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("calotype-fuzz-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("a temporary folder");
    let name = if bytes.first() == Some(&b'{') { "tokenizer.json" } else { "spiece.model" };
    std::fs::write(folder.join(name), bytes).expect("a temporary file");
    if let Ok(tokenizer) = T5Tokenizer::load(&folder) {
        for text in ["", "a b  <extra_id_7>", "日本 é\u{301} \0\u{ff21}"] {
            let _ = tokenizer.encode_padded(text, 9);
        }
    }
});
