use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::files::protobuf::Message;
use crate::testing::{TempDir, test_data};

/// Prompts and their ids by transformers 5.23.0.
#[derive(Deserialize)]
struct Golden {
    prompts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

const GOLDEN: &str = include_str!("../../../../tests/golden/t5_ids.json");

fn golden_flux() -> PathBuf {
    test_data().join("golden-flux")
}

fn assert_golden(tokenizer: &T5Tokenizer, what: &str) {
    let Golden { prompts, ids } = serde_json::from_str(GOLDEN).unwrap();
    assert!(prompts.len() > 10);
    for (prompt, ids) in prompts.iter().zip(&ids) {
        assert_eq!(tokenizer.encode(prompt).unwrap(), *ids, "{what}: {prompt:?}");
    }
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn both_files_give_the_ids_of_transformers() {
    for model in ["dev", "schnell"] {
        let tokenizer = T5Tokenizer::load(&golden_flux().join(model).join("tokenizer_2")).unwrap();
        assert_golden(&tokenizer, model);
        assert_eq!((tokenizer.end_id(), tokenizer.pad_id(), tokenizer.vocab_size()), (1, 0, 800));
    }
}

/// As transformers 4 converted `spiece.model`: spaces are joined before, and ▁ alone cuts words.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn dialects_of_the_file_give_the_same_ids() {
    let path = golden_flux().join("dev/tokenizer_2/tokenizer.json");
    let file: Value = atomic::read_json(&path).unwrap();
    let dir = TempDir::new();
    let join = json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": "▁" });
    let strip = json!({ "type": "Strip", "strip_left": false, "strip_right": true });
    let old = json!({ "type": "Metaspace", "replacement": "▁", "add_prefix_space": true });
    let joined = json!({ "type": "Sequence", "normalizers": [file["normalizer"], strip, join] });
    let split = json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, old] });
    for (what, normalizer, pre_tokenizer) in [
        ("before prepend_scheme", &file["normalizer"], &split),
        ("by ▁ alone", &joined, &old),
        ("by ▁ alone, newer", &joined, &file["pre_tokenizer"]["pretokenizers"][1]),
    ] {
        let mut other = file.clone();
        other["normalizer"] = normalizer.clone();
        other["pre_tokenizer"] = pre_tokenizer.clone();
        // transformers writes what the last call asked for: here it would cut every text.
        other["truncation"] =
            json!({ "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0 });
        other["padding"] = json!({ "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>" });
        dir.write("tokenizer.json", other.to_string());
        assert_golden(&T5Tokenizer::load(&dir).unwrap(), what);
    }
}

/// A `spiece.model` with a few pieces and no table of characters.
fn spiece(pieces: &[(&str, f32)], kind: u64) -> Vec<u8> {
    let message = |(text, score): &(&str, f32)| Message::new().bytes(1, text).float(2, *score);
    let file = pieces.iter().fold(Message::new(), |file, piece| file.message(1, message(piece)));
    file.message(2, Message::new().varint(3, kind).varint(40, 2)).into_bytes()
}

const PIECES: [(&str, f32); 8] = [
    ("<pad>", 0.0),
    ("</s>", 0.0),
    ("<unk>", 0.0),
    ("▁", -2.0),
    ("▁a", -3.0),
    ("b", -4.0),
    ("bb", -7.5),
    ("▁ab", -6.5),
];

#[test]
fn the_best_pieces_of_each_word() {
    let dir = TempDir::new();
    dir.write("spiece.model", spiece(&PIECES, 1));
    let tokenizer = T5Tokenizer::load(&dir).unwrap();
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    // ▁ab −6.5 before ▁a b −7; ▁ab b −10.5 is as good as ▁a bb −10.5, and found first.
    assert_eq!(ids("ab"), [7, 1]);
    assert_eq!(ids("abb"), [4, 6, 1]);
    assert_eq!(ids(" b \n a "), [3, 5, 4, 1]);
    // Unknown characters are one token, in each word.
    assert_eq!(ids("xy bxA x"), [3, 2, 3, 5, 2, 3, 2, 1]);
    // 8 pieces, then a hundred sentinels from the last to the first.
    assert_eq!(ids("a<extra_id_0> </s> <extra_id_99>"), [4, 107, 1, 8, 1]);
    assert_eq!(ids(""), [1]);
    assert_eq!(tokenizer.vocab_size(), 108);
    dir.write("tokenizer_config.json", r#"{"extra_ids": 2}"#);
    assert_eq!(T5Tokenizer::load(&dir).unwrap().vocab_size(), 10);
}

#[test]
fn texts_are_filled_up_and_cut() {
    let dir = TempDir::new();
    dir.write("spiece.model", spiece(&PIECES, 1));
    let tokenizer = T5Tokenizer::load(&dir).unwrap();
    for (text, length, ids, truncated) in [
        ("a a", 5, &[4, 4, 1, 0, 0][..], false),
        ("a a", 3, &[4, 4, 1], false),
        ("a a a", 3, &[4, 4, 1], true),
        ("a a", 1, &[1], true),
        ("", 4, &[1, 0, 0, 0], false),
    ] {
        let encoded = tokenizer.encode_padded(text, length).unwrap();
        assert_eq!((&encoded.ids[..], encoded.truncated), (ids, truncated), "{text:?} at {length}");
    }
}

fn refused(dir: &TempDir) -> String {
    T5Tokenizer::load(dir).err().expect("must not load").to_string()
}

#[test]
fn other_tokenizers_are_refused() {
    let dir = TempDir::new();
    assert!(refused(&dir).contains("spiece.model"));
    let whole = spiece(&PIECES, 1);
    let table = |table: &[u8]| {
        [&whole[..], &Message::new().message(3, Message::new().bytes(2, table)).into_bytes()].concat()
    };
    let byte = Message::new().message(1, Message::new().bytes(1, "<0x00>").varint(3, 6)).into_bytes();
    for (file, said) in [
        (whole[..whole.len() - 3].to_vec(), "field 2"),
        (spiece(&PIECES, 2), "kind 2"),
        (spiece(&PIECES[1..], 1), "`<pad>`"),
        (spiece(&[("<pad>", f32::NAN)], 1), "score NaN"),
        ([&whole[..], &byte].concat(), "bytes"),
        (table(&[8, 0, 0]), "too short"),
        (table(&[0xFF; 12]), "cut off"),
        (table(&[4, 0, 0, 0, 0, 0, 0, 0]), "leads out"),
        (b"\xFF\xFF".to_vec(), "needs 1 bytes"),
    ] {
        dir.write("spiece.model", file);
        let message = refused(&dir);
        assert!(message.contains(said) && message.contains("spiece.model"), "{said}: {message}");
    }
    dir.write("spiece.model", whole);
    dir.write("tokenizer_config.json", r#"{"extra_ids": 4000000000}"#);
    assert!(refused(&dir).contains("extra_ids"));
    fs::remove_file(dir.join("tokenizer_config.json")).unwrap();
    for (file, said) in [
        (json!({ "model": { "type": "BPE" } }), "`BPE`"),
        (json!([]), "`none`"),
        (json!({ "model": { "type": "Unigram" }, "pre_tokenizer": { "type": "ByteLevel" } }), "`ByteLevel`"),
        (
            json!({ "model": { "type": "Unigram" }, "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Replace", "pattern": { "Regex": "(a*)*b" }, "content": "" } ] } }),
            "`(a*)*b`",
        ),
        (
            json!({ "model": { "type": "Unigram", "vocab": [["<pad>", 0.0]], "unk_id": 7 } }),
            "UnkIdNotInVocabulary",
        ),
        (json!({ "model": { "type": "Unigram", "vocab": [["<pad>", 0.0]], "unk_id": 0 } }), "`</s>`"),
    ] {
        dir.write("tokenizer.json", file.to_string());
        let message = refused(&dir);
        assert!(message.contains(said) && message.contains("tokenizer.json"), "{said}: {message}");
    }
}

/// Every place of a table made to point elsewhere is either refused, or leads no text out of it.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_damaged_table_of_characters_ends_nothing() {
    let path = golden_flux().join("schnell/tokenizer_2/spiece.model");
    let whole = fs::read(path).unwrap();
    let begin = whole.windows(8).position(|window| window == b"nmt_nfkc").unwrap() + 8 + 4 + 4;
    let (dir, mut taken) = (TempDir::new(), 0);
    for run in 0..40_usize {
        let mut file = whole.clone();
        for change in 0..=run % 4 {
            let at = begin + (run * 7919 + change * 104_729) % 2000;
            file[at] ^= 1 << (run % 8);
        }
        dir.write("spiece.model", file);
        let Ok(tokenizer) = T5Tokenizer::load(&dir) else { continue };
        taken += 1;
        let all: String = ('\0'..'\u{3000}').collect();
        tokenizer.encode(&all).unwrap();
        assert_golden_ends(&tokenizer);
    }
    assert!((1..40).contains(&taken), "{taken} of 40 taken");
}

fn assert_golden_ends(tokenizer: &T5Tokenizer) {
    let Golden { prompts, .. } = serde_json::from_str(GOLDEN).unwrap();
    assert!(prompts.iter().all(|prompt| tokenizer.encode(prompt).unwrap().ends_with(&[1])));
}
